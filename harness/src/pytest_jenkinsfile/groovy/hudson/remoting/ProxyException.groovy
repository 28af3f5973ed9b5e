package hudson.remoting

/** Carries an error whose class the other side may not know. */
class ProxyException extends IOException {
    ProxyException(Throwable carried) { super(carried.toString()) }
}
