//! The accounts as a whole: both files in, addresses and logins out.

use super::*;
use crate::message::address::Mailbox;
use std::fs;
use std::path::PathBuf;

/// A folder with the two files, and a configuration that names them; domains are example.org and [192.0.2.1].
pub(super) struct Scratch(pub(super) PathBuf);

impl Scratch {
    pub(super) fn new(name: &str, users: &str, aliases: &str) -> Scratch {
        let folder = std::env::temp_dir().join(format!("mailbell-accounts-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("users"), users).unwrap();
        fs::write(folder.join("aliases"), aliases).unwrap();
        Scratch(folder)
    }

    pub(super) fn config(&self) -> Config {
        let mut config = Config::embedded(&self.0, "unused");
        config.domains = Domains::These(vec!["example.org".into(), "[192.0.2.1]".into()]);
        config.users.catch_all = None;
        config
    }

    pub(super) fn load(&self) -> Accounts {
        Accounts::load(&self.config()).unwrap()
    }

    /// What is said, without the folder.
    pub(super) fn problems(&self, config: &Config) -> Vec<String> {
        let folder = format!("{}/", self.0.display());
        let problems = Accounts::load(config).unwrap_err();
        problems.iter().map(|problem| problem.to_string().replace(&folder, "")).collect()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(super) const USERS: &str = "alice:{PLAIN}secret-a\nbob:{PLAIN}secret-b\ncarol:{PLAIN}secret-c\n";

pub(super) fn mailbox(text: &str) -> Mailbox {
    let (local, domain) = text.rsplit_once('@').map_or((text, None), |(local, domain)| (local, Some(domain)));
    Mailbox { local_part: local.into(), domain: domain.map(str::to_owned), text: text.into() }
}

fn resolve(accounts: &Accounts, text: &str) -> String {
    match accounts.resolve(&mailbox(text)) {
        Ok(users) => users.join(" "),
        Err(unknown) => format!("{unknown:?}"),
    }
}

#[test]
fn addresses_lead_to_users() {
    let aliases = "\
team: alice, bob, alice
all: team, carol@EXAMPLE.org, \\bob
alice+news: carol
bob: bob, archive
archive: carol
abuse: postmaster
cron: root
info: alice+web@example.org
";
    let accounts = Scratch::new("resolve", USERS, aliases).load();
    for (address, users) in [
        ("alice@example.org", "alice"),
        ("ALICE@Example.ORG.", "alice"),
        ("alice@[192.0.2.1]", "alice"),
        ("alice@[192.0.2.2]", "NotOurDomain"),
        ("alice@example.net", "NotOurDomain"),
        ("alice@sub.example.org", "NotOurDomain"),
        ("nobody@example.org", "NoSuchUser"),
        ("alice+tag@example.org", "alice"),
        ("alice++@example.org", "alice"),
        ("+tag@example.org", "NoSuchUser"),
        ("alice-tag@example.org", "NoSuchUser"),
        ("team@example.org", "alice bob carol"),
        ("Team+tag@example.org", "alice bob carol"),
        ("all@example.org", "alice bob carol"),
        ("alice+news@example.org", "carol"),
        ("bob@example.org", "bob carol"),
        ("info@example.org", "alice"),
        ("postmaster@example.org", "alice"),
        ("abuse@example.org", "alice"),
        ("cron@example.org", "alice"),
        ("postmaster", "alice"),
        ("PostMaster", "alice"),
        ("postmaster+x@example.org", "alice"),
        ("root", "alice"),
        ("Root@example.org", "alice"),
        ("postmaster@example.net", "NotOurDomain"),
        ("alice", "alice"),
        ("Team", "alice bob carol"),
        ("alice+tag", "alice"),
        ("nobody", "NoSuchUser"),
        ("@example.org", "NoSuchUser"),
    ] {
        assert_eq!(resolve(&accounts, address), users, "{address}");
    }
    assert_eq!(accounts.names().collect::<Vec<_>>(), ["alice", "bob", "carol"]);
    assert_eq!((accounts.user("Alice"), accounts.user("team")), (Some("alice"), None));
}

#[test]
fn the_catch_all_comes_last_and_before_the_first_account_for_postmaster() {
    let scratch = Scratch::new("catch-all", USERS, "team: alice\n");
    let mut config = scratch.config();
    config.users.catch_all = Some("bob".into());
    let accounts = Accounts::load(&config).unwrap();
    for (address, users) in [
        ("nobody@example.org", "bob"),
        ("nobody+tag@example.org", "bob"),
        ("team@example.org", "alice"),
        ("postmaster", "bob"),
        ("root", "bob"),
        ("nobody@example.net", "NotOurDomain"),
        ("nobody", "bob"),
    ] {
        assert_eq!(resolve(&accounts, address), users, "{address}");
    }
    // A catch-all is no address of one's own.
    assert!(!accounts.may_send_as("bob", &ReversePath::Mailbox(mailbox("nobody@example.org"))));
}

#[test]
fn postmaster_may_be_a_user_or_an_alias() {
    let user = Scratch::new("postmaster-user", "alice:{PLAIN}a\npostmaster:{PLAIN}b\n", "").load();
    assert_eq!(resolve(&user, "postmaster"), "postmaster");
    let alias = Scratch::new("postmaster-alias", USERS, "postmaster: carol\n").load();
    assert_eq!(resolve(&alias, "postmaster@example.org"), "carol");
    let nobody = Scratch::new("postmaster-nobody", "", "").load();
    assert_eq!(resolve(&nobody, "postmaster"), "NoSuchUser");
    let root = Scratch::new("root-alias", USERS, "root: carol\n").load();
    assert_eq!((resolve(&root, "root"), resolve(&root, "postmaster")), ("carol".into(), "alice".into()));
    assert!(!root.may_send_as("alice", &ReversePath::Mailbox(mailbox("root@example.org"))));
}

#[test]
fn a_domain_is_ours_in_a_labels_and_in_u_labels() {
    let scratch = Scratch::new("idn", USERS, "info: bob@xn--bcher-kva.example\n");
    for ours in ["b\u{fc}cher.example", "xn--bcher-kva.example"] {
        let mut config = scratch.config();
        config.domains = Domains::These(vec!["example.org".into(), ours.into()]);
        let accounts = Accounts::load(&config).unwrap();
        for domain in ["b\u{fc}cher.example", "B\u{dc}CHER.example.", "xn--bcher-kva.example", "XN--BCHER-KVA.Example"]
        {
            assert_eq!(resolve(&accounts, &format!("alice@{domain}")), "alice", "{ours} {domain}");
            assert!(accounts.login(&format!("alice@{domain}")).is_some());
        }
        assert_eq!(resolve(&accounts, "info@b\u{fc}cher.example"), "bob");
        assert_eq!(resolve(&accounts, "alice@bucher.example"), "NotOurDomain");
    }
}

#[test]
fn every_domain_and_no_subaddress() {
    let scratch = Scratch::new("any", USERS, "info: alice@anything.example\n");
    let mut config = scratch.config();
    (config.domains, config.users.subaddress) = (Domains::Any, None);
    let accounts = Accounts::load(&config).unwrap();
    assert_eq!(resolve(&accounts, "info@whatever.example"), "alice");
    assert_eq!(resolve(&accounts, "alice@[IPv6:2001:db8::1]"), "alice");
    assert_eq!(resolve(&accounts, "alice+tag@example.org"), "NoSuchUser");
}

/// The domains a.example and b.example, and aliases for each.
fn two_domains(name: &str, aliases: &str) -> (Scratch, Config) {
    let scratch = Scratch::new(name, USERS, aliases);
    let mut config = scratch.config();
    config.domains =
        Domains::These(vec!["a.example".into(), "b.example".into(), "b\u{fc}cher.example".into(), "c.example".into()]);
    (scratch, config)
}

#[test]
fn aliases_and_catch_alls_are_per_domain() {
    let aliases = "\
info@a.example: alice
Info@B.example.: bob
sales: info@b.example, carol
@b.example: carol
@XN--bcher-KVA.example: bob
shop@b\u{fc}cher.example: alice, bob
postmaster@c.example: carol
alice@b.example: alice@b.example, carol
web: info@a.example
helpers: anything@b.example
info+x: carol
";
    let (_scratch, mut config) = two_domains("per-domain", aliases);
    let accounts = Accounts::load(&config).unwrap();
    for (address, users) in [
        ("info@a.example", "alice"),
        ("INFO@A.Example.", "alice"),
        ("info@b.example", "bob"),
        ("info+tag@b.example", "bob"),
        ("info+x@b.example", "carol"),
        ("info@c.example", "NoSuchUser"),
        // Without a domain: the first of `domains`.
        ("info", "alice"),
        ("sales@a.example", "bob carol"),
        ("sales@b.example", "bob carol"),
        ("web@c.example", "alice"),
        // Users come before the catch-all of a domain, and aliases too.
        ("bob@b.example", "bob"),
        ("alice@b.example", "alice carol"),
        ("alice@a.example", "alice"),
        ("nobody@b.example", "carol"),
        ("nobody+tag@b.example", "carol"),
        ("nobody@a.example", "NoSuchUser"),
        ("nobody", "NoSuchUser"),
        ("helpers@a.example", "carol"),
        // Postmaster goes as before unless the domain has its own.
        ("postmaster@a.example", "alice"),
        ("postmaster@b.example", "alice"),
        ("root@b.example", "alice"),
        ("postmaster@c.example", "carol"),
        ("postmaster", "alice"),
        // The same domain in A-labels and U-labels.
        ("shop@b\u{fc}cher.example", "alice bob"),
        ("shop@xn--bcher-kva.example", "alice bob"),
        ("Shop@B\u{dc}CHER.example.", "alice bob"),
        ("x@XN--BCHER-KVA.example", "bob"),
        ("info@d.example", "NotOurDomain"),
        // A local part that looks like an address with another domain is only a local part.
        ("info@b.example@a.example", "NoSuchUser"),
    ] {
        assert_eq!(resolve(&accounts, address), users, "{address}");
    }
    let may = |user: &str, address: &str| accounts.may_send_as(user, &ReversePath::Mailbox(mailbox(address)));
    assert!(may("alice", "info@a.example") && may("bob", "info@b.example") && may("bob", "Info+tag@b.example."));
    assert!(!may("alice", "info@b.example") && !may("bob", "info@a.example") && !may("bob", "info@c.example"));
    assert!(may("carol", "alice@b.example") && !may("carol", "alice@a.example"));
    // A catch-all is no address of one's own.
    assert!(!may("carol", "nobody@b.example") && !may("bob", "info@b.example@a.example"));
    config.users.catch_all = Some("alice".into());
    let accounts = Accounts::load(&config).unwrap();
    for (address, user) in [("nobody@a.example", "alice"), ("nobody@b.example", "carol"), ("postmaster", "alice")] {
        assert_eq!(resolve(&accounts, address), user, "{address}");
    }
}

#[test]
fn what_is_wrong_with_aliases_of_a_domain_is_told() {
    let aliases = "\
info@d.example: bob
loop@a.example: loop@b.example
loop@b.example: loop@a.example
@b.example: nobody@b.example
sales: info@a.exampel
team: infos@a.example
infos@b.example: bob
bare@a.example: infos
";
    let (scratch, config) = two_domains("per-domain-wrong", aliases);
    assert_eq!(
        scratch.problems(&config),
        [
            "aliases:1: \"info@d.example\": d.example is not one of `domains`, so no mail for it comes here",
            "aliases:3: \"loop@a.example\" leads back to itself: loop@a.example -> loop@b.example -> loop@a.example",
            "aliases:4: \"@b.example\" leads back to itself: @b.example -> @b.example",
            "aliases:5: \"info@a.exampel\": mail is not forwarded elsewhere without `relay.host`, and a.exampel is not ours",
            "aliases:6: \"infos@a.example\" is neither a user nor an alias; did you mean \"infos@b.example\"?",
            "aliases:8: \"infos\" is neither a user nor an alias",
        ]
    );
}

#[test]
fn where_mail_goes_is_explained() {
    let (_scratch, config) = two_domains("explain", "info@b.example: bob, carol\n@c.example: carol\nteam: alice\n");
    let accounts = Accounts::load(&config).unwrap();
    for (address, lines) in [
        ("info+x@b.example", &["alias info@b.example", "user bob", "user carol"][..]),
        ("team@c.example", &["alias team", "user alice"]),
        ("alice@c.example", &["a user's own address", "user alice"]),
        ("x@c.example", &["no user and no alias, so the catch-all @c.example", "user carol"]),
        ("postmaster@c.example", &["no user and no alias, so the first account", "user alice"]),
    ] {
        assert_eq!(accounts.explain(&mailbox(address)).unwrap(), lines, "{address}");
    }
    assert!(accounts.explain(&mailbox("x@b.example")).is_err());
}

#[test]
fn one_may_send_as_oneself_and_one_s_aliases() {
    let accounts = Scratch::new("send-as", USERS, "team: alice, bob\n").load();
    for (user, address, may) in [
        ("alice", "alice@example.org", true),
        ("alice", "Alice+shop@EXAMPLE.org", true),
        ("alice", "team@example.org", true),
        ("carol", "team@example.org", false),
        ("alice", "bob@example.org", false),
        ("alice", "alice@example.net", false),
        ("alice", "alice", true),
        ("alice", "nobody@example.org", false),
    ] {
        assert_eq!(accounts.may_send_as(user, &ReversePath::Mailbox(mailbox(address))), may, "{user} {address}");
    }
    assert!(accounts.may_send_as("alice", &ReversePath::Null));
}

#[test]
fn loops_and_unknown_targets_are_told_with_their_lines() {
    let aliases = "\
one: two
two: three
three: one
self: self
list: alice, allice,
 bob@example.net
exact: \\team
team: carol
";
    let scratch = Scratch::new("loops", USERS, aliases);
    assert_eq!(
        scratch.problems(&scratch.config()),
        [
            "aliases:3: \"one\" leads back to itself: one -> two -> three -> one",
            "aliases:4: \"self\" leads back to itself: self -> self",
            "aliases:5: \"allice\" is neither a user nor an alias; did you mean \"alice\"?",
            "aliases:6: \"bob@example.net\": mail is not forwarded elsewhere without `relay.host`, and example.net is not ours",
            "aliases:7: \"team\" is not a user",
        ]
    );
}

#[test]
fn a_very_long_chain_of_aliases_is_told_and_breaks_no_stack() {
    let aliases: String = (0..20_000).map(|number| format!("a{number}: a{}\n", number + 1)).collect();
    let scratch = Scratch::new("chain", USERS, &(aliases + "a20000: alice\n"));
    let problems = scratch.problems(&scratch.config());
    assert!(problems[0].contains("more than 100 aliases in a row"), "{}", problems[0]);
}

#[test]
fn everything_that_is_wrong_with_both_files_is_told() {
    let scratch = Scratch::new("both", "alice:{PLAIN}a\nbob:{MD5}b\n", "team: dave\n");
    let mut config = scratch.config();
    assert_eq!(
        scratch.problems(&config),
        [
            "users:2: the secret of \"bob\" is of a scheme that is not read; there are ARGON2ID, SHA512-CRYPT, \
             SHA256-CRYPT, PLAIN",
            "aliases:1: \"dave\" is neither a user nor an alias",
        ]
    );
    let scratch = Scratch::new("both-missing", "alice:{PLAIN}a\n", "");
    config.users = scratch.config().users;
    config.users.catch_all = Some("bob".into());
    assert_eq!(
        scratch.problems(&config),
        ["built-in defaults: `users.catch_all`: there is no user \"bob\"; add it with `mailbell user add bob`"]
    );
}

#[test]
fn files_that_are_not_there() {
    let scratch = Scratch::new("missing", USERS, "");
    let mut config = scratch.config();
    fs::remove_file(&config.users.aliases).unwrap();
    assert!(Accounts::load(&config).is_ok());
    config.users.aliases_given = true;
    assert!(scratch.problems(&config)[0].contains("`users.aliases`: aliases: "));
    config.users.aliases_given = false;
    // A users file that nobody named may come later; one that was named must be there.
    fs::remove_file(&config.users.file).unwrap();
    assert_eq!(Accounts::load(&config).unwrap().names().count(), 0);
    let file = scratch.0.join("mailbell.toml");
    fs::write(&file, "[users]\nfile = \"users\"\n").unwrap();
    let problems = scratch.problems(&Config::load(&file).unwrap());
    assert_eq!(problems.len(), 1);
    assert!(problems[0].starts_with("mailbell.toml:2: `users.file`: users: No such file"), "{problems:?}");
    assert!(problems[0].ends_with("; `mailbell user add NAME` makes it"), "{problems:?}");
    // And nobody blames the aliases for it.
    fs::write(&config.users.aliases, "root: alice\n").unwrap();
    fs::create_dir(&config.users.file).unwrap();
    assert_eq!(scratch.problems(&Config::load(&file).unwrap()).len(), 1);
}
