//! Patterns with `*` and `?`, and lists of index names made of them.

/// Whether `text` fits `pattern`, in which `*` stands for any run of characters and `?` for one.
pub fn wildcard(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    let (mut p, mut t) = (0, 0);
    let mut last_star: Option<(usize, usize)> = None;
    while t < text.len() {
        if p < pattern.len() && pattern[p] == '*' {
            last_star = Some((p, t));
            p += 1;
        } else if p < pattern.len() && (pattern[p] == '?' || pattern[p] == text[t]) {
            p += 1;
            t += 1;
        } else if let Some((star, taken)) = last_star {
            last_star = Some((star, taken + 1));
            p = star + 1;
            t = taken + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|&rest| rest == '*')
}

/// Whether a name has `*` or `?` in it.
pub fn is_pattern(name: &str) -> bool {
    name.contains(['*', '?'])
}

/// Whether `name` fits an index expression: a list of names and patterns, in which `-x` takes away and `_all` is `*`.
///
/// Names with a leading dot are hidden: only a pattern that starts with a dot finds them.
/// Source: Elasticsearch, multi-target syntax.
pub fn selects(expression: &[String], name: &str) -> bool {
    expression
        .iter()
        .fold(false, |selected, part| match part.strip_prefix('-') {
            Some(excluded) => selected && !wildcard(excluded, name),
            None => selected || selects_one(part, name),
        })
}

fn selects_one(pattern: &str, name: &str) -> bool {
    let pattern = if pattern == "_all" { "*" } else { pattern };
    let hidden = name.starts_with('.') && is_pattern(pattern) && !pattern.starts_with('.');
    !hidden && wildcard(pattern, name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a*c", "abbd", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*a*b*", "xxaxxbxx", true),
            ("logs-*-*", "logs-system.auth-default", true),
            ("logs-*-*", "logs-x", false),
            ("é*", "été", true),
        ] {
            assert_eq!(wildcard(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn index_expressions() {
        let check = |expression: &[&str], name: &str, expected: bool| {
            let expression: Vec<String> = expression.iter().map(ToString::to_string).collect();
            assert_eq!(selects(&expression, name), expected, "{expression:?} {name}");
        };
        check(&["logs-*", "-logs-b-*"], "logs-a-x", true);
        check(&["logs-*", "-logs-b-*"], "logs-b-x", false);
        check(&["*"], ".fleet-agents", false);
        check(&[".fleet-*"], ".fleet-agents", true);
        check(&[".fleet-agents"], ".fleet-agents", true);
        check(&["_all"], "a", true);
        check(&[], "a", false);
    }
}
