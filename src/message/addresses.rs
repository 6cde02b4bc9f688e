//! The addresses in a To, Cc or Bcc field (RFC 5322 section 3.4), without names, comments and groups. Nothing is checked:
//! each text that is found must still be parsed (`address::mailbox`).

/// Every address of a field body, in order.
pub fn addresses(body: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut one = Address::default();
    let mut letters = body.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => one.push_quoted(&mut letters),
            '(' => skip_comment(&mut letters),
            '<' => one.open(),
            '>' => one.closed = true,
            ',' if one.is_in_route() => {}
            ',' | ';' => found.extend(std::mem::take(&mut one).finish()),
            // The name of a group ends; inside angle brackets it is the end of a source route, which is ignored.
            ':' => one.clear(),
            letter if letter.is_whitespace() => one.space(),
            letter => one.push(letter),
        }
    }
    found.extend(one.finish());
    found
}

/// An address as far as it was read.
#[derive(Debug, Default)]
struct Address {
    /// What is outside angle brackets.
    text: String,
    /// White space stood behind the last word.
    word_ended: bool,
    /// What is inside.
    angle: Option<String>,
    /// The angle bracket was closed.
    closed: bool,
}

impl Address {
    fn push(&mut self, letter: char) {
        let word_ended = std::mem::take(&mut self.word_ended);
        let Some(text) = self.text() else { return };
        // `a @ b . c` is one address; two words are a name before an angle bracket, or nothing that is valid.
        let joins = "@.".contains(letter) || text.ends_with(['@', '.']);
        if word_ended && !joins && !text.is_empty() {
            text.push(' ');
        }
        text.push(letter);
    }

    /// Where the next character belongs: `None` behind the angle brackets.
    fn text(&mut self) -> Option<&mut String> {
        match &mut self.angle {
            Some(_) if self.closed => None,
            Some(angle) => Some(angle),
            None => Some(&mut self.text),
        }
    }

    fn push_quoted(&mut self, letters: &mut std::str::Chars<'_>) {
        self.push('"');
        while let Some(letter) = letters.next() {
            match letter {
                '"' => break,
                '\\' => {
                    self.push_as_it_is('\\');
                    letters.next().into_iter().for_each(|letter| self.push_as_it_is(letter));
                }
                '\r' | '\n' => {}
                letter => self.push_as_it_is(letter),
            }
        }
        self.push_as_it_is('"');
    }

    fn push_as_it_is(&mut self, letter: char) {
        self.text().into_iter().for_each(|text| text.push(letter));
    }

    fn open(&mut self) {
        (self.angle, self.closed, self.word_ended) = (Some(String::new()), false, false);
    }

    /// Inside angle brackets, before the colon that ends a source route.
    fn is_in_route(&self) -> bool {
        !self.closed && self.angle.as_ref().is_some_and(|angle| angle.starts_with('@'))
    }

    fn space(&mut self) {
        self.word_ended = true;
    }

    fn clear(&mut self) {
        match &mut self.angle {
            Some(angle) if !self.closed => angle.clear(),
            _ => *self = Address::default(),
        }
    }

    fn finish(self) -> Option<String> {
        Some(self.angle.unwrap_or(self.text)).filter(|address| !address.is_empty())
    }
}

/// Comments nest.
fn skip_comment(letters: &mut std::str::Chars<'_>) {
    let mut depth = 1;
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => drop(letters.next()),
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_forms_of_the_rfc() {
        for (body, found) in [
            ("alice", &["alice"][..]),
            (" a@example.com,\r\n\tb@example.com ", &["a@example.com", "b@example.com"]),
            ("Alice <a@example.com>, \"Bob, jr. <x>\" <b@example.com>", &["a@example.com", "b@example.com"]),
            ("Pete(A nice \\) chap) <pete(his account)@silly.test(his host)>", &["pete@silly.test"]),
            (
                "A Group(Some people):Chris <c@(his host)public.example>, joe@example.org; , last",
                &["c@public.example", "joe@example.org", "last"],
            ),
            ("Undisclosed recipients:;", &[]),
            ("\"b o b\"@example.com, a @ b . c", &["\"b o b\"@example.com", "a@b.c"]),
            ("<@one.example,@two.example:user@example.com>", &["user@example.com"]),
            ("two words", &["two words"]),
            ("Name <two words@c>, <a @ b>", &["two words@c", "a@b"]),
            (",,;", &[]),
        ] {
            assert_eq!(addresses(body), found, "{body}");
        }
    }

    proptest! {
        #[test]
        fn takes_anything(body in any::<String>()) {
            addresses(&body);
        }
    }
}
