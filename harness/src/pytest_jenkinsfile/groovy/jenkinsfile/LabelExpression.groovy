package jenkinsfile

/**
 * Whether a label expression matches the labels of an agent. Operators by increasing precedence: `<->`, `->` (not chained),
 * `||`, `&&`, `!`, parentheses; labels may be quoted. As in Jenkins, a text that is not an expression is one label.
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
            if (parsed.tokens) { throw new LabelSyntaxError() }
            return value
        } catch (LabelSyntaxError ignored) {
            return expression.trim() in labels || text in labels
        }
    }

    private static List<String> tokensOf(String text) {
        List<String> tokens = []
        String rest = text.trim()
        while (rest) {
            def token = rest =~ /^(?:${OPERATORS}|${QUOTED}|${ATOM})/
            if (!token.find()) { throw new LabelSyntaxError() }
            tokens << token.group()
            rest = rest.substring(token.end()).trim()
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
            if (!take(')')) { throw new LabelSyntaxError() }
            return value
        }
        if (tokens.empty || tokens[0] ==~ OPERATORS) { throw new LabelSyntaxError() }
        String atom = tokens.remove(0)
        (atom.startsWith('"') ? unquoted(atom) : atom) in labels
    }

    private boolean take(String token) {
        if (!tokens || tokens[0] != token) { return false }
        tokens.remove(0)
        true
    }
}

/** The text is not a label expression. */
class LabelSyntaxError extends Exception { }
