package org.probe
class Stat { static int v = 0; static void put(int x) { v = x }; static int get() { v } }
