package hudson.model

/** What contains jobs: the controller, a folder or a multibranch job. */
interface ItemGroup {
    Object getItem(String name)
}
