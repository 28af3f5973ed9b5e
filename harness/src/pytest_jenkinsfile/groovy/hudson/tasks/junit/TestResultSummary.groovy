package hudson.tasks.junit

/** What `junit` returns. */
class TestResultSummary implements Serializable {
    int totalCount, failCount, skipCount, passCount
}
