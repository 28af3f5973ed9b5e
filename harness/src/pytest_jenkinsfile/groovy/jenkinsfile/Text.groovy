package jenkinsfile

import java.util.regex.Pattern

/** Durations as Jenkins writes them, and Ant patterns. */
class Text {
    private static final List<String> DEFAULT_EXCLUDES = [
        '**/*~', '**/#*#', '**/.#*', '**/%*%', '**/._*', '**/CVS', '**/CVS/**', '**/.svn', '**/.svn/**',
        '**/.git', '**/.git/**', '**/.gitignore', '**/.gitattributes', '**/.gitmodules', '**/.DS_Store',
    ]

    static String span(long millis) {
        long seconds = millis.intdiv(1000)
        long minutes = seconds.intdiv(60)
        long hours = minutes.intdiv(60)
        long days = hours.intdiv(24)
        if (days >= 365) { return two(days.intdiv(365), 'yr', (days % 365).intdiv(30), 'mo') }
        if (days >= 30) { return two(days.intdiv(30), 'mo', days % 30, days % 30 == 1 ? 'day' : 'days') }
        if (days > 0) { return two(days, days == 1 ? 'day' : 'days', hours % 24, 'hr') }
        if (hours > 0) { return two(hours, 'hr', minutes % 60, 'min') }
        if (minutes > 0) { return two(minutes, 'min', seconds % 60, 'sec') }
        if (seconds >= 10) { return "${seconds} sec" }
        if (millis >= 1000) { return "${decimal(millis.intdiv(100), 1)} sec" }
        if (millis >= 100) { return "${decimal(millis.intdiv(10), 2)} sec" }
        "${millis} ms"
    }

    /** Two units; the smaller one is shown only if the amount of the greater is below ten. */
    private static String two(long great, String unit, long small, String smaller) {
        great < 10 ? "${great} ${unit} ${small} ${smaller}" : "${great} ${unit}"
    }

    private static String decimal(long amount, int places) { new BigDecimal(amount).movePointLeft(places).stripTrailingZeros().toPlainString() }

    static long millis(Object amount, String unit) {
        (amount as BigDecimal) * java.util.concurrent.TimeUnit.valueOf(unit).toMillis(1) as long
    }

    /** The files under `root` that Ant patterns select, as sorted relative paths. */
    static List<String> files(File root, String includes, String excludes = null, boolean defaults = true, boolean caseSensitive = true) {
        List<Pattern> included = patterns(includes ?: '**', caseSensitive)
        List<Pattern> excluded = patterns(excludes, caseSensitive) + (defaults ? DEFAULT_EXCLUDES.collect { ant(it) } : [])
        List<String> paths = []
        if (root.directory) {
            root.eachFileRecurse { File file ->
                String path = root.toPath().relativize(file.toPath())
                if (file.file && included.any { it.matcher(path).matches() } && !excluded.any { it.matcher(path).matches() }) {
                    paths << path
                }
            }
        }
        paths.sort()
    }

    static boolean matches(String pattern, String path, boolean caseSensitive = true) {
        caseSensitive ? ant(pattern).matcher(path).matches() : ant(pattern.toLowerCase()).matcher(path.toLowerCase()).matches()
    }

    /** The candidate with the fewest edits, or null without candidates. */
    static String nearest(String word, Collection<String> candidates) { candidates.min { distance(word, it) } }

    private static int distance(String one, String other) {
        List<Integer> row = (0..other.length()).toList()
        one.eachWithIndex { letter, i ->
            List<Integer> next = [i + 1]
            other.eachWithIndex { String target, int j -> next << [next[j] + 1, row[j + 1] + 1, row[j] + (letter == target ? 0 : 1)].min() }
            row = next
        }
        row.last()
    }

    private static List<Pattern> patterns(String list, boolean caseSensitive = true) {
        List<Pattern> patterns = (list ?: '').split(',').toList()*.trim().findAll { it }.collect { ant(it.endsWith('/') ? "${it}**" : it) }
        caseSensitive ? patterns : patterns.collect { Pattern.compile(it.pattern(), Pattern.CASE_INSENSITIVE) }
    }

    private static Pattern ant(String pattern) {
        StringBuilder regex = new StringBuilder()
        int at = 0
        while (at < pattern.length()) {
            if (pattern.startsWith('**/', at)) {
                regex << '(?:.*/)?'
                at += 3
            } else if (pattern.startsWith('/**', at) && at + 3 == pattern.length()) {
                regex << '(?:/.*)?'
                at += 3
            } else if (pattern.startsWith('**', at)) {
                regex << '.*'
                at += 2
            } else {
                String next = pattern[at++]
                regex << (next == '*' ? '[^/]*' : next == '?' ? '[^/]' : Pattern.quote(next))
            }
        }
        Pattern.compile(regex.toString())
    }
}
