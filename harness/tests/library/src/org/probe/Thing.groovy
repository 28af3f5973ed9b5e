package org.probe
class Thing implements Serializable {
  def script
  Thing(script) { this.script = script }
  def twice(n) { script.echo("twice ${n}"); n * 2 }
}
