//! Settings that are right one by one and wrong together.

use super::report::Report;
use super::{Config, Place};

/// Reports them all.
pub(super) fn find(config: &Config, report: &Report<'_>) {
    listeners(config, report);
    if config.group.is_some() && config.user.is_none() {
        report.add_at_key("group", "`group`: needs `user` beside it");
    }
    for (index, watch) in config.watches.iter().enumerate() {
        if watch.maildir.starts_with(&config.mail.root) {
            let message =
                format!("`watch.maildir`: {} is below mail.root, which is watched anyway", watch.maildir.display());
            report.add_at_key(&format!("watch[{index}].maildir"), message);
        }
    }
}

/// Two listeners at one place: the second could not be bound.
fn listeners(config: &Config, report: &Report<'_>) {
    let doors: [(&str, &[Place]); 6] = [
        ("smtp.listen", &config.smtp.listen),
        ("submission.listen", &config.submission),
        ("lmtp.listen", &config.lmtp),
        ("pop3.listen", &config.pop3.listen),
        ("tls.smtps", &config.tls.smtps),
        ("tls.pop3s", &config.tls.pop3s),
    ];
    let mut all: Vec<(String, &str, &Place)> = Vec::new();
    for (name, places) in doors {
        all.extend(places.iter().enumerate().map(|(index, place)| (format!("{name}[{index}]"), name, place)));
    }
    all.extend(config.metrics.iter().map(|place| ("metrics.listen".into(), "metrics.listen", place)));
    for (second, (path, name, place)) in all.iter().enumerate() {
        let first = all[..second].iter().find(|(_, _, earlier)| earlier.collides(place));
        if let Some((other_path, other, earlier)) = first {
            // A default has no line; then the one that was written is to blame.
            let blamed = if report.line_of_key(path).is_some() { path } else { other_path };
            report.add_at_key(blamed, format!("`{name}`: {place} collides with {earlier} of `{other}`"));
        }
    }
}
