//! Patterns with `*` and `?`, and lists of index names made of them.

/// Whether `text` fits `pattern`, in which `*` stands for any run of characters and `?` for one.
pub fn wildcard(pattern: &str, text: &str) -> bool {
    // Octets do for characters: no character's octets stand within another's.
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    let mut last_star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                last_star = Some((p, t));
                p += 1;
            }
            Some(b'?') => {
                p += 1;
                t += width(text[t]);
            }
            Some(octet) if *octet == text[t] => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((star, taken)) = last_star else {
                    return false;
                };
                t = taken + width(text[taken]);
                last_star = Some((star, t));
                p = star + 1;
            }
        }
    }
    pattern[p..].iter().all(|&rest| rest == b'*')
}

/// How many octets a character has whose first is this one.
fn width(first: u8) -> usize {
    match first {
        0..=0x7F => 1,
        0x80..=0xDF => 2,
        0xE0..=0xEF => 3,
        0xF0..=0xFF => 4,
    }
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
            ("*?", "é", true),
            ("??", "é", false),
            ("?*x", "日本x", true),
            ("*本?x", "日本語x", true),
            ("*\u{a9}", "é", false),
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
