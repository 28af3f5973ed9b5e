import org.probe.Thing
def call(String who = 'world') {
  def v = new Thing(this).twice(libraryResource('v.txt').trim() as int)
  echo "hello ${who} from the library v=${v}"
}
