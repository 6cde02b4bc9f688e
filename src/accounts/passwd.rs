//! The passwd-file as it is read: `name:{SCHEME}hash[:ignored fields]` a line, `#` comments, blank lines.

use super::secret::Secret;
use crate::config::{Problem, user_name};
use std::collections::HashMap;
use std::path::Path;

/// One line of the file.
#[derive(Clone, Debug)]
pub(super) struct Account {
    pub(super) name: String,
    pub(super) secret: Secret,
}

/// A line that may be an account: its number, its name as it stands there, and the second field.
pub(super) fn lines(text: &[u8]) -> impl Iterator<Item = (usize, &[u8], Option<&[u8]>)> {
    text.split(|octet| *octet == b'\n').enumerate().filter_map(|(index, line)| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let is_comment = line.iter().find(|octet| !octet.is_ascii_whitespace()).is_none_or(|octet| *octet == b'#');
        let mut fields = line.split(|octet| *octet == b':');
        (!is_comment).then(|| (index + 1, fields.next().unwrap_or_default(), fields.next()))
    })
}

/// Reads the text of the file. Problems never quote what may be a secret.
pub(super) fn parse(file: &Path, text: &[u8]) -> (Vec<Account>, Vec<Problem>) {
    let mut accounts: Vec<Account> = Vec::new();
    let mut first_lines: HashMap<String, usize> = HashMap::new();
    let mut problems = Vec::new();
    for (line, name, secret) in lines(text) {
        let mut problem = |message: String| problems.push(Problem { file: file.to_owned(), line, message });
        // A line without a colon may be a password that was pasted alone.
        let Some(secret) = secret else {
            problem("is not `name:{SCHEME}hash`".into());
            continue;
        };
        let name = match user_name(&String::from_utf8_lossy(name)) {
            Ok(name) => name,
            Err(why) => {
                problem(why);
                continue;
            }
        };
        match first_lines.get(&name) {
            Some(first) => problem(format!("{name:?} is there already, in line {first}")),
            None => drop(first_lines.insert(name.clone(), line)),
        }
        match Secret::parse(secret) {
            Ok(secret) => accounts.push(Account { name, secret }),
            Err(why) => problem(format!("the secret of {name:?} {why}")),
        }
    }
    (accounts, problems)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn problems(text: &[u8]) -> Vec<String> {
        parse(Path::new("users"), text).1.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn accounts_comments_and_what_dovecot_puts_behind() {
        let text = b"# comment\n\nalice:{PLAIN}one\r\n  # indented\nbob:{PLAIN}two:1000:1000::/home/bob::extra\n\t\n_c.-9:{PLAIN}three";
        let (accounts, problems) = parse(Path::new("users"), text);
        assert_eq!(problems, []);
        let found: Vec<_> = accounts.iter().map(|a| (a.name.as_str(), a.secret.plain().unwrap())).collect();
        assert_eq!(found, [("alice", &b"one"[..]), ("bob", b"two"), ("_c.-9", b"three")]);
    }

    #[test]
    fn bad_lines_are_told_without_their_secret() {
        let text =
            b"hunter2\nAlice:{PLAIN}hunter2\nbob:hunter2\ncarol:{PLAIN}x\ncarol:{PLAIN}hunter2\n\xff:{PLAIN}hunter2\n";
        let said = problems(text);
        assert_eq!(said.len(), 5, "{said:?}");
        for (said, part) in said.iter().zip([
            "users:1: is not `name:{SCHEME}hash`",
            "did you mean \"alice\"?",
            "users:3: the secret of \"bob\" has no {SCHEME} in front",
            "users:5: \"carol\" is there already, in line 4",
            "users:6: ",
        ]) {
            assert!(said.contains(part), "{said}");
            assert!(!said.contains("hunter2"), "{said}");
        }
    }

    proptest! {
        #[test]
        fn any_octets_are_read_or_refused(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let (accounts, problems) = parse(Path::new("users"), &text);
            prop_assert!(accounts.len() + problems.len() <= 2 * lines(&text).count());
        }
    }
}
