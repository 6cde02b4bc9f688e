//! Settings that contradict each other.

use super::Config;
use super::report::Report;
use super::subscribers::real;

/// Reports them all.
pub(super) fn find(config: &Config, report: &Report<'_>) {
    listeners(config, report);
    if config.group.is_some() && config.user.is_none() {
        report.add_at_key("group", "`group`: needs `user` beside it");
    }
    let root = real(&config.mail.root);
    for (index, watch) in config.watches.iter().enumerate() {
        let maildir = real(&watch.maildir);
        if maildir.starts_with(&root) || maildir == real(&config.maildir(&watch.user)) {
            let message =
                format!("`watch.maildir`: {} is below mail.root, which is watched anyway", watch.maildir.display());
            report.add_at_key(&format!("watch[{index}].maildir"), message);
        }
    }
}

/// Two listeners with the same address: the second cannot be bound.
fn listeners(config: &Config, report: &Report<'_>) {
    let all = config.listeners();
    for (second, (_, path, place)) in all.iter().enumerate() {
        if let Some((_, other, earlier)) = all[..second].iter().find(|(.., earlier)| earlier.collides(place)) {
            // A default has no line; then the problem is at the other one.
            let blamed = if report.line_of_key(path).is_some() { path } else { other };
            let key = |path: &str| path.split('[').next().unwrap_or_default().to_owned();
            report.add_at_key(blamed, format!("`{}`: {place} collides with {earlier} of `{}`", key(path), key(other)));
        }
    }
}
