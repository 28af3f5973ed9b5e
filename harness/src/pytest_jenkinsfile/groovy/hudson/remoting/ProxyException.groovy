package hudson.remoting

/** Wraps an error whose class may not be serialisable. */
class ProxyException extends IOException {
    ProxyException(Throwable carried) { super(carried.toString()) }
}
