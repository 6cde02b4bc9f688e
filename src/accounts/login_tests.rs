//! Logins: passwords, challenges, and what a failed login costs.

use super::tests::{Scratch, mailbox};
use super::*;
use crate::sasl::Credentials;
use proptest::prelude::*;

fn password(name: &str, password: &str) -> Credentials {
    Credentials::Password { name: name.into(), password: password.into() }
}

#[test]
fn passwords_are_believed_or_not() {
    let hashed = format!("alice:{}\nbob:{{PLAIN}}secret-b\n", Secret::hash(b"secret-a").unwrap());
    let accounts = Scratch::new("verify", &hashed, "team: alice\n").load();
    let verifier = Verifier::default();
    // The second round meets the cache.
    for _ in 0..2 {
        for (name, secret, user) in [
            ("alice", "secret-a", Some("alice")),
            ("Alice", "secret-a", Some("alice")),
            ("alice@example.org", "secret-a", Some("alice")),
            ("alice@example.net", "secret-a", None),
            ("alice", "secret-b", None),
            ("alice", "", None),
            ("bob", "secret-b", Some("bob")),
            ("team", "secret-a", None),
            // The secret that stands in for nobody's opens nothing.
            ("nobody", "secret-a", None),
            ("", "secret-a", None),
        ] {
            assert_eq!(verifier.verify(&accounts, &password(name, secret)).as_deref(), user, "{name} {secret}");
        }
    }
    assert!(!accounts.all_plain());
    let nobody = Scratch::new("verify-nobody", "", "").load();
    assert_eq!(verifier.verify(&nobody, &password("alice", "secret-a")), None);
    assert!(!nobody.all_plain());
}

#[test]
fn challenges_are_answered_with_a_plain_secret_only() {
    let accounts = Scratch::new("challenge", "tim:{PLAIN}tanstaaftanstaaf\nmrose:{PLAIN}tanstaaf\n", "").load();
    assert!(accounts.all_plain());
    let verifier = Verifier::default();
    // RFC 2195 section 2 and RFC 1939 section 7.
    let cram = |name: &str, digest: &str| Credentials::CramMd5 {
        name: name.into(),
        challenge: "<1896.697170952@postoffice.reston.mci.net>".into(),
        digest: digest.into(),
    };
    let apop = |name: &str, digest: &str| Credentials::Apop {
        name: name.into(),
        stamp: "<1896.697170952@dbc.mtview.ca.us>".into(),
        digest: digest.into(),
    };
    let verify = |accounts: &Accounts, credentials| verifier.verify(accounts, &credentials);
    let answer = "b913a602c7eda7a495b4e6e7334d3890";
    assert_eq!(verify(&accounts, cram("tim", answer)).as_deref(), Some("tim"));
    assert_eq!(verify(&accounts, cram("tim", &answer.to_uppercase())).as_deref(), Some("tim"));
    assert_eq!(verify(&accounts, cram("mrose", answer)), None);
    assert_eq!(verify(&accounts, cram("tim", "")), None);
    assert_eq!(verify(&accounts, apop("mrose", "c4c9334bac560ecc979e58001b3e22fb")).as_deref(), Some("mrose"));
    assert_eq!(verify(&accounts, apop("mrose", "c4c9334bac560ecc979e58001b3e22fc")), None);

    let hashed = format!("tim:{}\n", Secret::hash(b"tanstaaftanstaaf").unwrap());
    let hashed = Scratch::new("challenge-hashed", &hashed, "").load();
    assert_eq!(verify(&hashed, cram("tim", answer)), None);
}

#[test]
fn a_changed_secret_counts_at_once() {
    let users = |secret: &[u8]| format!("alice:{}\n", Secret::hash(secret).unwrap());
    let verifier = Verifier::default();
    let before = Scratch::new("changed", &users(b"old"), "").load();
    assert!(verifier.verify(&before, &password("alice", "old")).is_some());
    let after = Scratch::new("changed", &users(b"new"), "").load();
    assert_eq!(verifier.verify(&after, &password("alice", "old")), None);
    assert!(verifier.verify(&after, &password("alice", "new")).is_some());
}

#[test]
fn a_failed_login_runs_the_same_hashes_for_every_user_and_for_none() {
    const SHA: &str =
        "$6$mailbellsalt16ch$zOMDvVIf0/rggW.gjipdLvM/0rNdN3Tfu9M5EI9Defx1jqPeu5u0FSQZfCxVsBwVS.5qajT2onF5EsFNhyYf8.";
    let users = format!(
        "alice:{}\nbob:{{PLAIN}}b\ncarol:{}\ndave:{{SHA512-CRYPT}}{SHA}\n",
        Secret::hash(b"a").unwrap(),
        Secret::hash(b"c").unwrap()
    );
    let accounts = Scratch::new("hashes", &users, "").load();
    let verifier = Verifier::default();
    let runs = |name: &str, secret: &str| {
        let before = verifier.hash_runs();
        let is_right = verifier.verify(&accounts, &password(name, secret)).is_some();
        (is_right, verifier.hash_runs() - before)
    };
    // One of ARGON2ID and one of SHA512-CRYPT.
    for name in ["alice", "bob", "carol", "dave", "nobody", "nobody@example.org", "alice@elsewhere.example"] {
        assert_eq!(runs(name, "wrong"), (false, 2), "{name}");
    }
    assert_eq!(runs("alice", "a"), (true, 1));
    assert_eq!(runs("alice", "a"), (true, 0), "a known login costs no hash");
    assert_eq!(runs("bob", "b"), (true, 0));
    // Another user's secret that is known tells nothing.
    for name in ["nobody", "bob", "carol"] {
        assert_eq!(runs(name, "a"), (false, 2), "{name}");
    }
}

proptest! {
    #[test]
    fn any_pair_of_files_is_read_or_refused(users in "([ab]:\\{PLAIN\\}x\n|[ -~]{0,8}\n){0,4}", aliases in "([a-d]: [a-d, @.\\\\]{0,6}\n){0,6}") {
        let scratch = Scratch::new("any-pair", &users, &aliases);
        if let Ok(accounts) = Accounts::load(&scratch.config()) {
            let all: Vec<_> = accounts.names().map(str::to_owned).collect();
            for name in ["a", "b", "c", "d", "postmaster"] {
                if let Ok(users) = accounts.resolve(&mailbox(&format!("{name}@example.org"))) {
                    prop_assert!(!users.is_empty() && users.iter().all(|user| all.contains(user)));
                    let mut once = users.clone();
                    once.sort();
                    once.dedup();
                    prop_assert_eq!(once.len(), users.len());
                }
            }
        }
    }
}
