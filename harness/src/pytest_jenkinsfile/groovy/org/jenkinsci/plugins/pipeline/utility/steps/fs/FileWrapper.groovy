package org.jenkinsci.plugins.pipeline.utility.steps.fs

/** A file in the result of `findFiles`. */
class FileWrapper implements Serializable {
    final String name
    final String path
    final boolean directory
    final long length
    final long lastModified

    FileWrapper(File folder, String path) {
        File file = new File(folder, path)
        this.name = file.name
        this.path = path
        this.directory = file.directory
        this.length = file.length()
        this.lastModified = file.lastModified()
    }

    @Override
    String toString() { directory ? "${path}/" : path }
}
