package jenkinsfile

/**
 * Whether a label expression fits the labels of an agent. Weakest first: `<->`, `->` (not chained), `||`, `&&`, `!`,
 * parentheses; labels may be quoted. A text that is no expression is one label, as in Jenkins.
 */
class LabelExpression {
    private static final String OPERATORS = /&&|\|\||<->|->|[!()]/
    private static final String QUOTED = /"(?:\\.|[^"\\\r\n])*"/
    private static final String ATOM = /(?:[^&|!<>()\s"'-]|-(?!>))+/

    private final Set<String> labels
    private final List<String> tokens

    private LabelExpression(Set<String> labels, List<String> tokens) {
        this.labels = labels
        this.tokens = tokens
    }

    static boolean fits(String expression, Collection<String> labels) {
        String text = expression.trim() ==~ QUOTED ? unquoted(expression.trim()) : expression
        try {
            LabelExpression parsed = new LabelExpression(labels as Set, tokensOf(text))
            boolean value = parsed.equivalence()
            if (parsed.tokens) { throw new NoExpression() }
            return value
        } catch (NoExpression ignored) {
            return expression.trim() in labels || text in labels
        }
    }

    private static List<String> tokensOf(String text) {
        List<String> tokens = []
        String rest = text.trim()
        while (rest) {
            def found = rest =~ /^(?:${OPERATORS}|${QUOTED}|${ATOM})/
            if (!found.find()) { throw new NoExpression() }
            tokens << found.group()
            rest = rest.substring(found.end()).trim()
        }
        tokens
    }

    private static String unquoted(String text) { text[1..-2].replaceAll(/\\(.)/, '$1') }

    private boolean equivalence() {
        boolean value = implication()
        while (take('<->')) { value = value == implication() }
        value
    }

    private boolean implication() {
        boolean value = disjunction()
        if (!take('->')) { return value }
        boolean consequence = disjunction()
        !value || consequence
    }

    private boolean disjunction() {
        boolean value = conjunction()
        while (take('||')) { value = conjunction() | value }
        value
    }

    private boolean conjunction() {
        boolean value = negation()
        while (take('&&')) { value = negation() & value }
        value
    }

    private boolean negation() { take('!') ? !operand() : operand() }

    private boolean operand() {
        if (take('(')) {
            boolean value = equivalence()
            if (!take(')')) { throw new NoExpression() }
            return value
        }
        if (tokens.empty || tokens[0] ==~ OPERATORS) { throw new NoExpression() }
        String atom = tokens.remove(0)
        (atom.startsWith('"') ? unquoted(atom) : atom) in labels
    }

    private boolean take(String token) {
        if (!tokens || tokens[0] != token) { return false }
        tokens.remove(0)
        true
    }
}

/** The text is one label. */
class NoExpression extends Exception { }
