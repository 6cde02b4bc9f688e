//! Dates between numbers and text: RFC 3339 for events, RFC 5322 for header fields. UTC only, no clock, no zone tables.
//!
//! The calendar is the proleptic Gregorian one, computed in eras of 400 years (146,097 days) that begin on 1 March, so
//! that the leap day is the last of its year.

use std::ops::Range;

const DAYS_IN_ERA: u64 = 146_097;

/// Days from 0000-03-01 to 1970-01-01.
const EPOCH: u64 = 719_468;

const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Year, month (1 to 12) and day (1 to 31) of a day counted from 1970-01-01.
fn civil(day: u64) -> (u64, u64, u64) {
    let day = day + EPOCH;
    let (era, day_of_era) = (day / DAYS_IN_ERA, day % DAYS_IN_ERA);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day_of_month)
}

/// The day, counted from 1970-01-01, of a date from then on.
fn day_number(year: u64, month: u64, day: u64) -> Option<u64> {
    let year = year.checked_sub(u64::from(month <= 2))?;
    let (era, year_of_era) = (year / 400, year % 400);
    let march_month = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * march_month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    (era * DAYS_IN_ERA + day_of_era).checked_sub(EPOCH)
}

/// `2026-11-23T08:44:59.123456Z` for microseconds since 1970.
pub fn rfc3339_micros(microseconds: u64) -> String {
    let seconds = microseconds / 1_000_000;
    let (year, month, day) = civil(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    let mut text = *b"0000-00-00T00:00:00.000000Z";
    let mut put = |mut number: u64, at: Range<usize>| {
        for digit in text[at].iter_mut().rev() {
            (*digit, number) = (b'0' + (number % 10) as u8, number / 10);
        }
    };
    for (number, at) in [(year, 0..4), (month, 5..7), (day, 8..10), (hour, 11..13), (minute, 14..16), (second, 17..19)]
    {
        put(number, at);
    }
    put(microseconds % 1_000_000, 20..26);
    text.iter().map(|octet| char::from(*octet)).collect()
}

/// Microseconds since 1970 of what [`rfc3339_micros`] wrote; `None` for anything else.
pub fn parse_rfc3339(text: &str) -> Option<u64> {
    let octets = text.as_bytes();
    let shape = b"0000-00-00T00:00:00.000000Z";
    let same = |(&octet, &model): (&u8, &u8)| if model == b'0' { octet.is_ascii_digit() } else { octet == model };
    if octets.len() != shape.len() || !octets.iter().zip(shape).all(same) {
        return None;
    }
    let number = |from: usize, to: usize| text[from..to].parse::<u64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let days = day_number(year, month, day)?;
    // 30 February has the number of another day.
    if civil(days) != (year, month, day) {
        return None;
    }
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) * 1_000_000 + number(20, 26)?)
}

/// `Mon, 23 Nov 2026 08:44:59 +0000` for seconds since 1970 (RFC 5322 section 3.3).
pub fn rfc5322(seconds: u64) -> String {
    let day_number = seconds / 86_400;
    let (year, month, day) = civil(day_number);
    let weekday = WEEKDAYS[(day_number % 7) as usize];
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{weekday}, {day:02} {} {year:04} {hour:02}:{minute:02}:{second:02} +0000", MONTHS[month as usize - 1])
}

/// Seconds since 1970 of a date as mail has it: RFC 5322 with its obsolete zones and comments, and IMAP's INTERNALDATE
/// (`17-Jul-1996 02:44:25 -0700`). `None` for anything else, and for dates before 1970.
pub fn parse_mail(text: &str) -> Option<u64> {
    let text = text.split('(').next()?.replace(',', " ");
    let mut words = text.split_ascii_whitespace().flat_map(|word| {
        // The dashes of INTERNALDATE; a zone begins with one, too.
        let is_date = word.bytes().filter(|octet| *octet == b'-').count() == 2;
        word.split(move |letter| is_date && letter == '-')
    });
    let first = words.next()?;
    let day: u64 = match first.parse() {
        Ok(day) => day,
        Err(_) => words.next()?.parse().ok()?,
    };
    let month = words.next()?;
    let month = MONTHS.iter().position(|name| name.eq_ignore_ascii_case(month))? as u64 + 1;
    let year = words.next()?;
    let year = match (year.len(), year.parse::<u64>().ok()?) {
        // RFC 5322 section 4.3.
        (2, year) if year < 50 => year + 2_000,
        (2 | 3, year) => year + 1_900,
        (_, year) => year,
    };
    let mut time = words.next()?.split(':').map(|digits| digits.parse::<u64>().ok());
    let (hour, minute) = (time.next()??, time.next()??);
    let second = time.next().unwrap_or(Some(0))?.min(59);
    if !(1..=31).contains(&day) || hour > 23 || minute > 59 || year > 9_999 {
        return None;
    }
    let seconds = ((day_number(year, month, day)? * 24 + hour) * 60 + minute) * 60 + second;
    seconds.checked_add_signed(-zone(words.next().unwrap_or("+0000")))
}

/// Seconds east of Greenwich; 0 for what is not known (RFC 5322 section 4.3).
fn zone(text: &str) -> i64 {
    let (sign, digits) = match text.split_at_checked(1) {
        Some(("+", digits)) => (1, digits),
        Some(("-", digits)) => (-1, digits),
        _ => {
            let hours = [
                ("EST", -5),
                ("EDT", -4),
                ("CST", -6),
                ("CDT", -5),
                ("MST", -7),
                ("MDT", -6),
                ("PST", -8),
                ("PDT", -7),
            ];
            let known = hours.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
            return known.map_or(0, |(_, hours)| hours * 3_600);
        }
    };
    match digits.parse::<i64>() {
        Ok(number) if digits.len() == 4 => sign * (number / 100 * 3_600 + number % 100 * 60),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_as_mail_has_them() {
        let seconds = 1_795_423_499;
        assert_eq!(parse_mail(&rfc5322(seconds)), Some(seconds));
        for (text, seconds) in [
            ("Mon, 23 Nov 2026 08:44:59 +0000", Some(1_795_423_499)),
            ("23 Nov 2026 09:44:59 +0100 (CET)", Some(1_795_423_499)),
            (" 23-Nov-2026 00:44:59 -0800", Some(1_795_423_499)),
            ("Mon, 23 Nov 26 03:44:59 EST", Some(1_795_423_499)),
            ("Mon,23 nov 2026 08:44 GMT", Some(1_795_423_440)),
            ("Thu, 01 Jan 1970 00:00:60 +0000", Some(59)),
            ("Thu, 01 Jan 1970 00:00:00 +0100", None),
            ("32 Nov 2026 08:44:59 +0000", None),
            ("23 Nov 2026 24:44:59 +0000", None),
            ("23 Foo 2026 08:44:59 +0000", None),
            ("23 Nov 99999999999999999999 08:44:59 +0000", None),
            ("", None),
        ] {
            assert_eq!(parse_mail(text), seconds, "{text}");
        }
    }

    #[test]
    fn known_moments() {
        assert_eq!(rfc3339_micros(0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(rfc3339_micros(1_795_423_499_123_456), "2026-11-23T08:44:59.123456Z");
        assert_eq!(rfc5322(1_795_423_499), "Mon, 23 Nov 2026 08:44:59 +0000");
        assert_eq!(rfc5322(951_782_400), "Tue, 29 Feb 2000 00:00:00 +0000");
        assert_eq!(rfc5322(4_107_542_400), "Mon, 01 Mar 2100 00:00:00 +0000");
    }

    /// Counts the days one by one.
    #[test]
    fn every_day_of_four_hundred_years_agrees_with_counting() {
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for number in 0..DAYS_IN_ERA {
            assert_eq!(civil(number), (year, month, day));
            assert_eq!(day_number(year, month, day), Some(number));
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let length = [31, 28 + u64::from(leap), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month as usize - 1];
            day += 1;
            if day > length {
                (month, day) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        }
    }

    #[test]
    fn what_is_written_is_read_back_and_nothing_else_is() {
        for moment in [0, 1, 999_999, 1_795_423_499_123_456, 4_107_542_399_999_999] {
            assert_eq!(parse_rfc3339(&rfc3339_micros(moment)), Some(moment));
        }
        for wrong in [
            "",
            "2026-11-23",
            "2026-02-30T00:00:00.000000Z",
            "2026-13-01T00:00:00.000000Z",
            "2026-01-01T24:00:00.000000Z",
            "1969-12-31T23:59:59.999999Z",
            "2026-11-23T08:44:59.123456z",
            "2026-11-23T08:44:59.12345éZ",
        ] {
            assert_eq!(parse_rfc3339(wrong), None, "{wrong}");
        }
    }
}
