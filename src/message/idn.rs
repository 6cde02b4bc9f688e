//! Internationalised domain names: a domain written with letters beyond ASCII (U-labels) and its ASCII form (A-labels,
//! RFC 5890 section 2.3.2.1) are the same domain. The ASCII form is Punycode (RFC 3492). No normalisation is done but
//! lower case: what people type is in normalisation form C already.

use std::borrow::Cow;

/// Whether two domains are the same: case, a dot at the end and the choice of A-labels or U-labels do not count.
pub fn same_domain(one: &str, other: &str) -> bool {
    let bare = |domain| str::strip_suffix(domain, ".").unwrap_or(domain).to_owned();
    if one.is_ascii() && other.is_ascii() {
        return bare(one).eq_ignore_ascii_case(&bare(other));
    }
    to_ascii(&bare(one)) == to_ascii(&bare(other))
}

/// A domain as a key: in lower case, in A-labels, without a dot at its end.
pub fn canonical(domain: &str) -> String {
    to_ascii(domain.strip_suffix('.').unwrap_or(domain)).into_owned()
}

/// The domain in lower case and in A-labels. A label that Punycode cannot hold stays as it is.
pub fn to_ascii(domain: &str) -> Cow<'_, str> {
    if domain.is_ascii() && !domain.bytes().any(|octet| octet.is_ascii_uppercase()) {
        return Cow::Borrowed(domain);
    }
    let lower = domain.to_lowercase();
    let label = |label: &str| match label.is_ascii() {
        true => label.to_owned(),
        false => punycode(label).map_or_else(|| label.to_owned(), |code| format!("xn--{code}")),
    };
    Cow::Owned(lower.split('.').map(label).collect::<Vec<_>>().join("."))
}

/// The parameters of RFC 3492 section 5.
const BASE: u32 = 36;
const T_MIN: u32 = 1;
const T_MAX: u32 = 26;
const SKEW: u32 = 38;
const DAMP: u32 = 700;
const INITIAL_BIAS: u32 = 72;
const INITIAL_N: u32 = 128;

/// Encodes a label (RFC 3492 section 6.3). `None` on overflow, which only a label that no name can have leads to.
fn punycode(label: &str) -> Option<String> {
    let mut code: String = label.chars().filter(char::is_ascii).collect();
    let basic = code.len() as u32;
    if basic > 0 {
        code.push('-');
    }
    let all = label.chars().count() as u32;
    let (mut n, mut delta, mut bias, mut handled) = (INITIAL_N, 0_u32, INITIAL_BIAS, basic);
    while handled < all {
        let next = label.chars().map(u32::from).filter(|&letter| letter >= n).min()?;
        delta = delta.checked_add((next - n).checked_mul(handled + 1)?)?;
        n = next;
        for letter in label.chars().map(u32::from) {
            if letter < n {
                delta = delta.checked_add(1)?;
            }
            if letter == n {
                let mut rest = delta;
                for k in (BASE..).step_by(BASE as usize) {
                    let threshold = k.saturating_sub(bias).clamp(T_MIN, T_MAX);
                    if rest < threshold {
                        break;
                    }
                    code.push(digit(threshold + (rest - threshold) % (BASE - threshold)));
                    rest = (rest - threshold) / (BASE - threshold);
                }
                code.push(digit(rest));
                bias = adapt(delta, handled + 1, handled == basic);
                delta = 0;
                handled += 1;
            }
        }
        delta = delta.checked_add(1)?;
        n += 1;
    }
    Some(code)
}

/// `a` to `z` are 0 to 25, `0` to `9` are 26 to 35.
fn digit(value: u32) -> char {
    char::from_digit((value + 10) % BASE, BASE).unwrap_or_default()
}

fn adapt(delta: u32, points: u32, is_first: bool) -> u32 {
    let mut delta = if is_first { delta / DAMP } else { delta / 2 };
    delta += delta / points;
    let mut k = 0;
    while delta > (BASE - T_MIN) * T_MAX / 2 {
        delta /= BASE - T_MIN;
        k += BASE;
    }
    k + (BASE - T_MIN + 1) * delta / (delta + SKEW)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_encoded_as_in_the_rfc() {
        for (label, code) in [
            ("bücher", "bcher-kva"),
            ("münchen", "mnchen-3ya"),
            ("例え", "r8jz45g"),
            ("他们为什么不说中文", "ihqwcrb4cv8a8dqg056pqjye"),
            ("почемужеонинеговорятпорусски", "b1abfaaepdrnnbgefbadotcwatmq2g4l"),
            ("3年b組金八先生", "3b-ww4c5e180e575a65lsy2b"),
            ("そのスピードで", "d9juau41awczczp"),
            ("straße", "strae-oqa"),
            ("💩", "ls8h"),
        ] {
            assert_eq!(punycode(label).as_deref(), Some(code), "{label}");
        }
    }

    #[test]
    fn a_domain_is_the_same_in_both_spellings() {
        for (one, other, same) in [
            ("bücher.example", "xn--bcher-kva.example", true),
            ("BÜCHER.Example.", "XN--BCHER-KVA.EXAMPLE", true),
            ("xn--BCHER-kva.example.", "bücher.example", true),
            ("bücher.example", "bücher.example", true),
            ("example.org.", "Example.ORG", true),
            ("bücher.example", "bucher.example", false),
            ("bücher.example", "xn--bcher-kvb.example", false),
            ("mail.例え.テスト", "mail.xn--r8jz45g.xn--zckzah", true),
        ] {
            assert_eq!(same_domain(one, other), same, "{one} {other}");
            assert_eq!(same_domain(other, one), same, "{other} {one}");
        }
    }
}
