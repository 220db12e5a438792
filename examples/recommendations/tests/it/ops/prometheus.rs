//! What the alerts ask Prometheus.

/// The expressions of a file of rules: what comes after `expr:`, on the same line or indented below it.
pub(super) fn expressions(rules: &str) -> Vec<String> {
    let mut expressions = Vec::new();
    let mut lines = rules.lines().peekable();
    while let Some(line) = lines.next() {
        let Some(rest) = line.trim_start().strip_prefix("expr: ") else { continue };
        let indented = line.len() - line.trim_start().len();
        let mut expression = rest.trim_start_matches('|').to_owned();
        while let Some(next) = lines.next_if(|next| next.len() - next.trim_start().len() > indented) {
            expression = expression + " " + next.trim();
        }
        expressions.push(expression);
    }
    assert!(expressions.len() > 10, "{expressions:?}");
    expressions
}
