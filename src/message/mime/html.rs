//! HTML as plain text, good enough to be read aloud or shown in a notification: block elements begin lines, links keep their
//! address, and what is not text goes (scripts, styles, comments). It is no browser, and takes time in proportion to its input.

use super::TEXT;

/// Octets of a tag that are looked at for quotes around a `>`; longer ones hold data, such as an image.
const TAG: usize = 4_096;

/// Longest name of a character, octets.
const ENTITY: usize = 10;

/// Elements that are no text.
const HIDDEN: [&str; 6] = ["script", "style", "head", "title", "template", "noscript"];

/// Elements that begin a line.
const BLOCKS: [&str; 26] = [
    "address",
    "article",
    "aside",
    "blockquote",
    "body",
    "center",
    "dd",
    "div",
    "dl",
    "dt",
    "fieldset",
    "footer",
    "form",
    "header",
    "hr",
    "html",
    "li",
    "main",
    "nav",
    "ol",
    "section",
    "table",
    "tr",
    "ul",
    "option",
    "figure",
];

/// Those that have an empty line around them.
const PARAGRAPHS: [&str; 8] = ["p", "h1", "h2", "h3", "h4", "h5", "h6", "pre"];

/// Characters of ISO 8859-1 by their names, from U+00A0 on.
const LATIN: &str = "nbsp iexcl cent pound curren yen brvbar sect uml copy ordf laquo not shy reg macr deg plusmn sup2 sup3 \
    acute micro para middot cedil sup1 ordm raquo frac14 frac12 frac34 iquest Agrave Aacute Acirc Atilde Auml Aring AElig \
    Ccedil Egrave Eacute Ecirc Euml Igrave Iacute Icirc Iuml ETH Ntilde Ograve Oacute Ocirc Otilde Ouml times Oslash Ugrave \
    Uacute Ucirc Uuml Yacute THORN szlig agrave aacute acirc atilde auml aring aelig ccedil egrave eacute ecirc euml igrave \
    iacute icirc iuml eth ntilde ograve oacute ocirc otilde ouml divide oslash ugrave uacute ucirc uuml yacute thorn yuml";

/// Others that mail has.
const OTHERS: [(&str, char); 20] = [
    ("amp", '&'),
    ("lt", '<'),
    ("gt", '>'),
    ("quot", '"'),
    ("apos", '\''),
    ("euro", '€'),
    ("hellip", '…'),
    ("ndash", '–'),
    ("mdash", '—'),
    ("lsquo", '‘'),
    ("rsquo", '’'),
    ("sbquo", '‚'),
    ("ldquo", '“'),
    ("rdquo", '”'),
    ("bdquo", '„'),
    ("bull", '•'),
    ("trade", '™'),
    ("zwnj", '\u{200c}'),
    ("rarr", '→'),
    ("larr", '←'),
];

/// The text that is being made.
#[derive(Default)]
struct Text {
    out: String,
    /// Line ends that come before the next letter.
    lines: usize,
    /// A space comes before the next letter.
    space: bool,
    /// White space is text.
    is_preformatted: bool,
    /// Where the text of a link began, and its address.
    link: Option<(usize, String)>,
    /// A head without an end was found; another one is not looked into.
    headless: bool,
}

/// The text, at most [`TEXT`] octets and some.
pub fn text_of(html: &str) -> String {
    let mut text = Text::default();
    let mut rest = html;
    // Octets from the last `>` on: with fewer left, nothing is a tag.
    let last = memchr::memrchr(b'>', html.as_bytes()).map_or(usize::MAX, |at| html.len() - at);
    while !rest.is_empty() && text.out.len() <= TEXT {
        let plain = memchr::memchr2(b'<', b'&', rest.as_bytes()).unwrap_or(rest.len());
        rest[..plain].chars().for_each(|letter| text.letter(letter));
        rest = &rest[plain..];
        if let Some(after) = rest.strip_prefix('&') {
            let (letter, length) = entity(after).unwrap_or(('&', 0));
            text.character(letter);
            rest = &after[length..];
        } else if let Some(after) = rest.strip_prefix("<!--") {
            rest = after.find("-->").map_or("", |at| &after[at + 3..]);
        } else if let Some(after) = rest.strip_prefix('<') {
            let begins =
                after.starts_with(|letter: char| letter.is_ascii_alphabetic() || matches!(letter, '/' | '!' | '?'));
            let end = if begins && rest.len() >= last { end_of_tag(after) } else { None };
            let Some(end) = end else {
                text.character('<');
                rest = after;
                continue;
            };
            rest = text.tag(&after[..end], &after[end + 1..]);
        }
    }
    text.end_link();
    text.out.trim_end().to_owned()
}

/// The place of the `>` that ends a tag.
fn end_of_tag(tag: &str) -> Option<usize> {
    let mut quote = None;
    for (at, octet) in tag.bytes().enumerate().take(TAG) {
        match (quote, octet) {
            (None, b'>') => return Some(at),
            (None, b'"' | b'\'') => quote = Some(octet),
            (Some(open), _) if open == octet => quote = None,
            _ => {}
        }
    }
    memchr::memchr(b'>', tag.as_bytes())
}

impl Text {
    /// A letter of the text, where white space is one space.
    fn letter(&mut self, letter: char) {
        if letter.is_ascii_whitespace() {
            match (self.is_preformatted, letter) {
                (true, '\n') => self.lines += 1,
                (true, _) => self.character(' '),
                (false, _) => self.space = true,
            }
        } else {
            self.character(letter);
        }
    }

    fn character(&mut self, letter: char) {
        if matches!(letter, '\u{ad}' | '\u{200b}' | '\u{200c}' | '\u{feff}' | '\u{34f}') {
            // Invisible; newsletters fill their previews with them.
            return;
        }
        let letter = if letter == '\u{a0}' { ' ' } else { letter };
        let has_text = !self.out.is_empty();
        if has_text && self.lines > 0 {
            self.out.truncate(self.out.trim_end_matches(' ').len());
            let there = self.out.len() - self.out.trim_end_matches('\n').len();
            (there..self.lines.min(2)).for_each(|_| self.out.push('\n'));
        } else if has_text && self.space && !self.out.ends_with([' ', '\n']) {
            self.out.push(' ');
        }
        (self.lines, self.space) = (0, false);
        self.out.push(letter);
    }

    fn lines(&mut self, count: usize) {
        self.lines = self.lines.max(count);
    }

    /// A tag without its brackets; gives what follows it, or what follows its element where that is hidden.
    fn tag<'a>(&mut self, tag: &str, rest: &'a str) -> &'a str {
        let (is_end, tag) = tag.strip_prefix('/').map_or((false, tag), |tag| (true, tag));
        let name = tag.split(|letter: char| letter.is_ascii_whitespace() || letter == '/').next().unwrap_or_default();
        let name = name.to_ascii_lowercase();
        let name = name.as_str();
        if !is_end && HIDDEN.contains(&name) && !(name == "head" && self.headless) {
            // A head without an end is followed by its body; nothing follows another element without one.
            self.headless |= name == "head";
            return behind(rest, name).unwrap_or(if name == "head" { rest } else { "" });
        }
        match name {
            "br" => self.lines += 1,
            "td" | "th" => self.space = true,
            "a" => {
                self.end_link();
                if !is_end && let Some(address) = address(tag) {
                    self.link = Some((self.out.len(), address));
                }
            }
            _ if PARAGRAPHS.contains(&name) => self.lines(2),
            _ if BLOCKS.contains(&name) => self.lines(1),
            _ => {}
        }
        if name == "pre" {
            self.is_preformatted = !is_end;
        }
        if name == "li" && !is_end {
            self.character('*');
            self.space = true;
        }
        rest
    }

    /// Writes the address of a link behind its text, where the text is another one.
    fn end_link(&mut self) {
        let Some((start, address)) = self.link.take() else { return };
        let shown = self.out.get(start..).unwrap_or_default().trim();
        let bare = |text: &str| {
            let text = ["mailto:", "tel:", "https://", "http://"]
                .iter()
                .fold(text, |text, scheme| text.strip_prefix(scheme).unwrap_or(text));
            text.trim_end_matches('/').to_ascii_lowercase()
        };
        if !shown.is_empty() && bare(shown) != bare(&address) {
            let (lines, space) = (std::mem::take(&mut self.lines), self.space);
            self.space = true;
            format!("<{address}>").chars().for_each(|letter| self.character(letter));
            (self.lines, self.space) = (lines, space);
        }
    }
}

/// What follows the end tag of an element; `None` where it does not end.
fn behind<'a>(rest: &'a str, name: &str) -> Option<&'a str> {
    let mut from = 0;
    while let Some(at) = rest[from..].find("</") {
        from += at + 2;
        let is_it = rest
            .as_bytes()
            .get(from..from + name.len())
            .is_some_and(|found| found.eq_ignore_ascii_case(name.as_bytes()));
        if is_it {
            return Some(rest[from..].find('>').map_or("", |end| &rest[from + end + 1..]));
        }
    }
    None
}

/// The address of a link that leads somewhere.
fn address(tag: &str) -> Option<String> {
    let lower = tag.to_ascii_lowercase();
    let at = lower.match_indices("href").map(|(at, _)| at).find(|at| {
        let before = lower.as_bytes()[..*at].last().is_some_and(u8::is_ascii_whitespace);
        before && lower[at + 4..].trim_start().starts_with('=')
    })?;
    let value = tag[at + 4..].trim_start().strip_prefix('=')?.trim_start();
    let value = match value.chars().next()? {
        quote @ ('"' | '\'') => value[1..].split(quote).next()?,
        _ => value.split(|letter: char| letter.is_ascii_whitespace()).next()?,
    };
    let mut address = String::new();
    let mut rest = value;
    while let Some(letter) = rest.chars().next() {
        let after = &rest[letter.len_utf8()..];
        let (letter, length) = if letter == '&' { entity(after).unwrap_or(('&', 0)) } else { (letter, 0) };
        address.extend((!letter.is_whitespace() && !letter.is_control()).then_some(letter));
        rest = &after[length..];
    }
    let lower = address.get(..8.min(address.len())).unwrap_or_default().to_ascii_lowercase();
    let leads = ["http://", "https://", "mailto:", "tel:"].iter().any(|scheme| lower.starts_with(scheme));
    (leads && address.len() <= crate::limits::FIELD).then_some(address)
}

/// A character by its name or number, from behind the `&`; and how many octets that takes.
fn entity(text: &str) -> Option<(char, usize)> {
    let window = &text.as_bytes()[..text.len().min(ENTITY)];
    let plain = |octet: &u8| octet.is_ascii_alphanumeric() || *octet == b'#';
    let length = window.iter().position(|octet| !plain(octet)).unwrap_or(window.len());
    let name = &text[..length];
    let length = length + usize::from(text[length..].starts_with(';'));
    if let Some(number) = name.strip_prefix('#') {
        let number = match number.strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16),
            None => number.parse(),
        };
        // What was meant by these numbers is windows-1252.
        let letter = match number.ok()? {
            code @ 0x80..=0x9f => encoding_rs::WINDOWS_1252.decode_without_bom_handling(&[code as u8]).0.chars().next(),
            code => char::from_u32(code),
        };
        return Some((letter.filter(|letter| !letter.is_control() || *letter == '\n')?, length));
    }
    let latin = LATIN.split_ascii_whitespace().position(|known| known == name);
    let latin = latin.and_then(|index| char::from_u32(0xa0 + index as u32));
    let letter = latin.or_else(|| OTHERS.iter().find(|(known, _)| *known == name).map(|(_, letter)| *letter))?;
    Some((letter, length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_a_person_would_read() {
        for (html, text) in [
            ("plain", "plain"),
            ("<p>One<br>two</p>\n\n<p>three  \n four</p>", "One\ntwo\n\nthree four"),
            (
                "<html><head><title>x</title><style>p {}</style></head><body>a<script>if (a<b) {}</script>b</body></html>",
                "ab",
            ),
            ("<div>a</div><div>b</div><div><br></div><div>c</div>", "a\nb\n\nc"),
            (
                "Grüße&nbsp;&amp; &lt;b&gt; &#8364; &#x20AC; &euro; &auml;&szlig; &unknown; &#146; AT&T",
                "Grüße & <b> € € € äß &unknown; ’ AT&T",
            ),
            ("<ul><li>one<li>two</ul>end", "* one\n* two\nend"),
            ("<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>", "a b\nc"),
            ("<a href=\"https://example.org/x?a=1&amp;b=2\">click</a>!", "click <https://example.org/x?a=1&b=2>!"),
            ("<a href='https://example.org/'>example.org</a>", "example.org"),
            ("<a href=mailto:a@example.org>a@example.org</a>", "a@example.org"),
            ("<a href='javascript:alert(1)'>x</a> <a name=y>z</a> <a data-href='https://a'>b</a>", "x z b"),
            ("<a href='https://example.org'><img src=x></a>", ""),
            ("a <!-- <b> --> c <!-- open", "a c"),
            ("1 < 2 and <b>3</b> <4", "1 < 2 and 3 <4"),
            ("<img alt=\"a > b\" src='x'>text", "text"),
            ("a<b", "a<b"),
            ("<pre>a\n  b</pre>c", "a\n  b\n\nc"),
            ("<p>&zwnj;&#847;&shy;x</p>", "x"),
            ("<head>no end<p>x", "no end\n\nx"),
            ("<script>no end", ""),
            ("<SCRIPT>a</Script >b", "b"),
            ("caf\u{e9}<!DOCTYPE html><?xml version='1'?>s", "cafés"),
        ] {
            assert_eq!(text_of(html), text, "{html}");
        }
    }

    #[test]
    fn hostile_input_takes_no_longer_than_other_input() {
        for unit in [
            "<",
            "<a ",
            "<a \"",
            "<!--",
            "&",
            "&#",
            "<script>",
            "</",
            "<a href=",
            "<a '\"",
            "<\">",
            "<a \"'>",
            "<!-->",
            "<style></",
        ] {
            let html = unit.repeat(TEXT / 8 / unit.len());
            assert!(text_of(&html).len() <= TEXT + 16, "{unit}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(html in "([<>&;#/\"'= \\n]|a|p|pre|script|style|head|href|br|li|é|!--|--|x20|https://x){0,60}") {
            text_of(&html);
        }
    }
}
