package hudson.tasks.junit

/** The return value of `junit`. */
class TestResultSummary implements Serializable {
    int totalCount, failCount, skipCount, passCount
}
