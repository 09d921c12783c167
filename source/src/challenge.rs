//! What a server asks for with `WWW-Authenticate` (RFC 9110, 11.6.1): one challenge or several, in one line or several.

use std::collections::BTreeMap;

/// One way to get in.
#[derive(Debug, PartialEq)]
pub(crate) struct Challenge {
    /// `basic`, `bearer`, ... in small letters.
    pub(crate) scheme: String,
    /// By name, in small letters.
    pub(crate) parameters: BTreeMap<String, String>,
}

/// The challenges of one line. What cannot be read is passed over.
pub(crate) fn challenges(line: &str) -> Vec<Challenge> {
    let mut found: Vec<Challenge> = Vec::new();
    let mut rest = line.trim_start_matches([' ', '\t', ',']);
    while !rest.is_empty() {
        let end = rest.find([' ', '\t', ',', '=']).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let behind = after.trim_start_matches([' ', '\t']);
        match behind.strip_prefix('=') {
            // A name with a value belongs to the scheme before it.
            Some(value) if !word.is_empty() => {
                let (value, next) = value_of(value.trim_start_matches([' ', '\t']));
                if let Some(challenge) = found.last_mut() {
                    challenge.parameters.insert(word.to_ascii_lowercase(), value);
                }
                rest = next;
            }
            Some(_) => rest = &behind[1..],
            None => {
                let scheme = word.to_ascii_lowercase();
                found.push(Challenge { scheme, parameters: BTreeMap::new() });
                rest = behind;
            }
        }
        rest = rest.trim_start_matches([' ', '\t', ',']);
    }
    found
}

/// A value in quotes (a backslash takes the next sign as it is) or without, and what follows.
fn value_of(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let (mut value, mut escaped) = (String::new(), false);
    for (at, sign) in quoted.char_indices() {
        match sign {
            sign if escaped => {
                value.push(sign);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => return (value, &quoted[at + 1..]),
            sign => value.push(sign),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read_one_by_one_with_commas_inside_their_values() {
        let bearer = r#"Bearer realm="https://auth.example/token",service="r.example",scope="repository:a/b:pull,push""#;
        let one = challenges(bearer);
        assert_eq!(one.len(), 1);
        assert_eq!(
            (one[0].scheme.as_str(), one[0].parameters["scope"].as_str()),
            ("bearer", "repository:a/b:pull,push")
        );
        let two = challenges(&format!(r#"Basic realm="a \"b\", c", {bearer}, Negotiate"#));
        let schemes: Vec<_> = two.iter().map(|one| one.scheme.as_str()).collect();
        assert_eq!(schemes, ["basic", "bearer", "negotiate"]);
        assert_eq!(two[0].parameters["realm"], "a \"b\", c");
        assert_eq!(two[1].parameters["realm"], "https://auth.example/token");
        let plain = challenges("BEARER REALM = https://h/t , error=invalid_token");
        assert_eq!(plain[0].parameters["realm"], "https://h/t");
        assert_eq!(plain[0].parameters["error"], "invalid_token");
    }

    #[test]
    fn nonsense_is_passed_over() {
        for text in ["", ",,", "=", "a==b", "Bearer realm=\"open", "\"", "= = =", "Bearer =x,realm=y"] {
            let _ = challenges(text);
        }
        assert_eq!(challenges("Basic")[0].scheme, "basic");
    }
}
