//! A Rust file as text: its code without comments and strings, its functions and how long they are.
//!
//! **What**  A scanner that knows just enough of Rust's tokens (nested comments, raw strings, characters against
//! lifetimes) to blank what is not code. Line breaks stay, so line numbers of both texts agree.

/// A function and its length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) name: String,
    /// From 1.
    pub(crate) line: usize,
    /// Lines of the body that hold code, as clippy counts them.
    pub(crate) code_lines: usize,
}

/// The text with the contents of comments, strings and characters replaced by spaces.
pub(crate) fn code_only(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = end_of_blank(&chars, at);
        if end == at {
            out.push(chars[at]);
            at += 1;
        } else {
            out.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    out
}

/// Where the comment, string or character that begins at `at` ends; `at` itself when none begins there.
fn end_of_blank(chars: &[char], at: usize) -> usize {
    let next = chars.get(at + 1);
    match chars[at] {
        '/' if next == Some(&'/') => find(chars, at, |rest| rest[0] == '\n'),
        '/' if next == Some(&'*') => end_of_block_comment(chars, at),
        '"' => end_of_quoted(chars, at + 1, '"'),
        'r' if at == 0 || !is_word(chars[at - 1]) || matches!(chars[at - 1], 'b' | 'c') => end_of_raw_string(chars, at),
        '\'' if next == Some(&'\\') => end_of_quoted(chars, at + 1, '\''),
        '\'' if chars.get(at + 2) == Some(&'\'') => at + 3,
        _ => at,
    }
}

fn find(chars: &[char], from: usize, stop: impl Fn(&[char]) -> bool) -> usize {
    (from..chars.len()).find(|at| stop(&chars[*at..])).unwrap_or(chars.len())
}

fn end_of_block_comment(chars: &[char], from: usize) -> usize {
    let mut depth = 0_usize;
    let mut at = from;
    while at < chars.len() {
        if chars[at..].starts_with(&['/', '*']) {
            depth += 1;
            at += 2;
        } else if chars[at..].starts_with(&['*', '/']) {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    at
}

fn end_of_quoted(chars: &[char], from: usize, quote: char) -> usize {
    let mut at = from;
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 2,
            c if c == quote => return at + 1,
            _ => at += 1,
        }
    }
    chars.len()
}

fn end_of_raw_string(chars: &[char], at: usize) -> usize {
    let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
    let open = at + 1 + hashes;
    if chars.get(open) != Some(&'"') {
        return at; // a raw identifier, or a plain word that begins with r
    }
    let mut close = vec!['"'];
    close.resize(1 + hashes, '#');
    (find(chars, open + 1, |rest| rest.starts_with(&close)) + close.len()).min(chars.len())
}

pub(crate) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Where `word` stands in `text` with no letter, digit or underscore at its word-like ends.
pub(crate) fn find_word(text: &str, word: &str) -> Option<usize> {
    let starts_as_word = word.chars().next().is_some_and(is_word);
    let ends_as_word = word.chars().next_back().is_some_and(is_word);
    text.match_indices(word).map(|(at, _)| at).find(|at| {
        let before = text[..*at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        !(starts_as_word && before.is_some_and(is_word) || ends_as_word && after.is_some_and(is_word))
    })
}

/// Every function with a body in a text from [`code_only`].
pub(crate) fn functions(code: &str) -> Vec<Function> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(offset) = find_word(&code[from..], "fn") {
        let at = from + offset;
        from = at + 2;
        let name: String = code[from..].trim_start().chars().take_while(|c| is_word(*c)).collect();
        if name.is_empty() {
            continue; // a function type
        }
        let Some(body) = body_of(&code[from..]) else { continue };
        let code_lines = body.lines().filter(|line| !line.trim().is_empty()).count();
        found.push(Function { name, line: 1 + code[..at].matches('\n').count(), code_lines });
    }
    found
}

/// What stands between the braces of the function whose signature `code` begins with.
fn body_of(code: &str) -> Option<&str> {
    let mut brackets = 0_i32;
    let signature = |c: char| {
        match c {
            '(' | '[' => brackets += 1,
            ')' | ']' => brackets -= 1,
            _ => (),
        }
        brackets == 0 && matches!(c, '{' | ';')
    };
    let open = code.find(signature)?;
    if !code[open..].starts_with('{') {
        return None;
    }
    let mut depth = 0_i32;
    let close = code[open..].find(|c| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        depth == 0
    })?;
    Some(&code[open + 1..open + close])
}

#[cfg(test)]
mod tests {
    use super::{code_only, find_word, functions};

    #[test]
    fn comments_strings_and_characters_are_blank_and_lines_stay() {
        let text = "a // b\nc /* d /* e */ f\n */ g \"h \\\" i\" 'j' '\\'' r#\"k \" l\"# m";
        let code = code_only(text);
        assert_eq!(code.split_whitespace().collect::<Vec<_>>(), ["a", "c", "g", "m"]);
        assert_eq!(code.lines().count(), text.lines().count());
    }

    #[test]
    fn lifetimes_and_raw_identifiers_are_code() {
        assert_eq!(code_only("fn f<'a>(r#type: &'a str)"), "fn f<'a>(r#type: &'a str)");
    }

    #[test]
    fn a_word_is_found_only_as_a_whole() {
        assert_eq!(find_word("tokio_like mytokio", "tokio"), None);
        assert_eq!(find_word("use tokio::net", "tokio"), Some(4));
        assert_eq!(find_word("x.todo!()", "todo!"), Some(2));
    }

    #[test]
    fn the_length_of_a_function_counts_code_and_not_comments() {
        let text = "fn a<A, B>(x: [u8; 2]) -> u8 {\n    // why\n\n    let y = 1;\n    y\n}\ntrait T { fn b(); }\ntype F = fn(u8);\n";
        let found = functions(&code_only(text));
        let short: Vec<_> = found.iter().map(|f| (f.name.as_str(), f.line, f.code_lines)).collect();
        assert_eq!(short, [("a", 1, 2)]);
    }
}
