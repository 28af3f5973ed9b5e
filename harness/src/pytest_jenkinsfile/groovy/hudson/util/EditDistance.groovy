package hudson.util

import groovy.transform.CompileStatic

/** The Levenshtein distance of two words, and the word of a collection that is nearest to another. */
@CompileStatic
class EditDistance {
    static int editDistance(String from, String to) {
        List<Integer> row = (0..to.length()).collect { int length -> length }
        from.toCharArray().eachWithIndex { char letter, int removed ->
            List<Integer> next = [removed + 1]
            to.toCharArray().eachWithIndex { char other, int column ->
                int replaced = row[column] + (letter == other ? 0 : 1)
                next << Math.min(replaced, Math.min(row[column + 1], next[column]) + 1)
            }
            row = next
        }
        row.last()
    }

    static String findNearest(String word, String[] group) { findNearest(word, Arrays.asList(group)) }

    /** The first of the nearest words; null of no words. */
    static String findNearest(String word, Collection<String> group) { group.min { String other -> editDistance(word, other) } }
}
