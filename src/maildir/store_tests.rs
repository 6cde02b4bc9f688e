use super::*;
use crate::maildir::testing::{files, folder};
use proptest::prelude::*;
use std::os::unix::fs::MetadataExt;

fn modes() -> Modes {
    Modes::of_files(0o640)
}

fn tmp(maildir: &Path) -> usize {
    fs::read_dir(maildir.join("tmp")).map_or(0, |entries| entries.count())
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn nothing_is_made_behind_a_link_that_leads_nowhere() {
    let folder = folder("dangling");
    std::os::unix::fs::symlink("nowhere", folder.join("alice")).unwrap();
    let error = make_maildir(&folder.join("alice"), &Modes::of_files(0o600)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    assert!(Draft::create(&folder.join("alice"), "1.x", &Modes::of_files(0o600)).is_err());
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn modes_never_open_to_the_world() {
    for (asked, file, folder) in
        [(0o640, 0o640, 0o750), (0o600, 0o600, 0o700), (0o660, 0o660, 0o770), (0o666, 0o660, 0o770), (0, 0o600, 0o700)]
    {
        let modes = Modes::of_files(asked);
        assert_eq!((modes.file, modes.folder), (file, folder), "{asked:o}");
    }
}

#[test]
fn recipients_share_one_file_in_maildirs_that_are_made() {
    let root = folder("store");
    let maildirs: Vec<PathBuf> = ["a", "b", "c"].iter().map(|user| root.join("mail").join(user)).collect();
    let mut draft = Draft::create(&maildirs[0], "1.M2", &Modes::of_files(0o660)).unwrap();
    draft.write(b"one ").unwrap();
    draft.write(b"two").unwrap();
    assert_eq!(draft.size(), 7);
    let staged = draft.stage("1.M2", &maildirs).unwrap();
    assert!(maildirs.iter().all(|maildir| files(maildir).is_empty() && tmp(maildir) == 1));
    staged.publish("1.M2,S=7").unwrap().make_safe().unwrap();
    for maildir in &maildirs {
        let path = maildir.join("new/1.M2,S=7");
        assert_eq!(fs::read(&path).unwrap(), b"one two");
        assert_eq!((mode(&path), mode(maildir), mode(&maildir.join("new"))), (0o660, 0o770, 0o770));
        assert_eq!((fs::metadata(&path).unwrap().nlink(), tmp(maildir)), (3, 0));
    }
    assert_eq!(mode(&root.join("mail")), 0o770);
    fs::remove_dir_all(root).unwrap();
}

#[test]
fn a_message_that_is_dropped_leaves_nothing_at_any_step() {
    let root = folder("dropped");
    let maildirs = [root.join("a"), root.join("b")];
    let mut draft = Draft::create(&maildirs[0], "1", &modes()).unwrap();
    draft.write(b"x").unwrap();
    drop(draft);
    let draft = Draft::create(&maildirs[0], "1", &modes()).unwrap();
    drop(draft.stage("1", &maildirs).unwrap());
    assert!(maildirs.iter().all(|maildir| tmp(maildir) == 0 && files(maildir).is_empty()));
    fs::remove_dir_all(root).unwrap();
}

#[test]
fn the_first_may_be_left_out() {
    let root = folder("left-out");
    let maildirs = [root.join("a"), root.join("b")];
    let mut draft = Draft::create(&maildirs[0], "1", &modes()).unwrap();
    draft.write(b"x").unwrap();
    draft.stage("1", &maildirs[1..]).unwrap().publish("1").unwrap().make_safe().unwrap();
    assert!(tmp(&maildirs[0]) == 0 && files(&maildirs[0]).is_empty());
    assert_eq!(files(&maildirs[1]), ["new/1"]);
    fs::remove_dir_all(root).unwrap();
}

#[test]
fn what_vanished_on_the_way_is_made_again() {
    let root = folder("vanished");
    let maildirs = [root.join("a"), root.join("b")];
    make_maildir(&maildirs[0], &modes()).unwrap();
    fs::remove_dir(maildirs[0].join("tmp")).unwrap();
    let draft = Draft::create(&maildirs[0], "1", &modes()).unwrap();
    let staged = draft.stage("1", &maildirs).unwrap();
    fs::remove_dir(maildirs[1].join("new")).unwrap();
    staged.publish("1").unwrap().make_safe().unwrap();
    assert!(maildirs.iter().all(|maildir| files(maildir) == ["new/1"]));
    fs::remove_dir_all(root).unwrap();
}

#[test]
fn where_there_is_no_link_there_is_a_copy() {
    // Another file system is not to be had everywhere; this one is in most places.
    let shm = Path::new("/dev/shm");
    let root = folder("copy");
    if !shm.is_dir() || fs::metadata(shm).unwrap().dev() == fs::metadata(&root).unwrap().dev() {
        eprintln!("only one file system here: not tested");
        return;
    }
    let far = shm.join(root.file_name().unwrap());
    let mut draft = Draft::create(&root.join("a"), "1", &modes()).unwrap();
    draft.write(&[b'x'; 100_000]).unwrap();
    draft
        .stage("1", &[far.join("b"), root.join("a"), root.join("c")])
        .unwrap()
        .publish("1")
        .unwrap()
        .make_safe()
        .unwrap();
    let path = far.join("b/new/1");
    assert_eq!((fs::read(&path).unwrap().len(), mode(&path)), (100_000, 0o640));
    assert_eq!(fs::metadata(root.join("c/new/1")).unwrap().nlink(), 2);
    fs::remove_dir_all(root).unwrap();
    fs::remove_dir_all(far).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// One step of one recipient fails; whatever the step, nobody gets anything.
    #[test]
    fn all_or_nothing(recipients in 1..6_usize, broken in 0..6_usize, step in 0..5_u8) {
        let root = folder("all-or-nothing");
        let maildirs: Vec<PathBuf> = (0..recipients).map(|n| root.join(n.to_string())).collect();
        for maildir in &maildirs {
            make_maildir(maildir, &modes()).unwrap();
        }
        let victim = &maildirs[broken % recipients];
        let breaks = |name: &str| {
            fs::remove_dir(victim.join(name)).unwrap();
            fs::write(victim.join(name), "not a folder").unwrap();
        };
        if step == 0 {
            breaks("tmp");
        }
        let outcome = Draft::create(&maildirs[0], "1", &modes()).and_then(|mut draft| {
            draft.write(b"message")?;
            if step == 1 {
                // The name is taken.
                let _ = fs::write(victim.join("tmp/1"), "another's");
            }
            let staged = draft.stage("1", &maildirs)?;
            match step {
                2 => breaks("new"),
                // A folder is in the way of the rename.
                3 => fs::create_dir(victim.join("new/1")).unwrap(),
                _ => {}
            }
            staged.publish("1").and_then(Published::make_safe)
        });
        // A name that is taken in the first one is the draft's own.
        let fails = step < 4 && !(step == 1 && broken % recipients == 0);
        prop_assert_eq!(outcome.is_err(), fails);
        for maildir in &maildirs {
            let stored = maildir.join("new/1").is_file();
            prop_assert_eq!(stored, !fails);
            prop_assert!(!maildir.join("tmp/1").is_file() || (step == 1 && maildir == victim));
        }
        fs::remove_dir_all(root).unwrap();
    }
}

#[test]
fn what_is_published_and_not_made_safe_goes_again() {
    let maildir = crate::maildir::testing::maildir("withdrawn", &[]);
    let mut draft = Draft::create(&maildir, "1", &Modes::of_files(0o600)).unwrap();
    draft.write(b"x").unwrap();
    let published = draft.stage("1", std::slice::from_ref(&maildir)).unwrap().publish("1").unwrap();
    assert_eq!(crate::maildir::testing::files(&maildir), ["new/1"]);
    drop(published);
    assert_eq!(crate::maildir::testing::files(&maildir), [""; 0]);
    fs::remove_dir_all(maildir).unwrap();
}

#[test]
fn a_file_system_that_cannot_sync_a_folder_is_named() {
    assert!(can_be_synced(&std::env::temp_dir()).is_ok());
    // fsync(2) says EINVAL for what lies in /proc.
    let error = can_be_synced(Path::new("/proc/self")).unwrap_err();
    assert!(error.to_string().starts_with("/proc/self: the file system cannot sync a folder"), "{error}");
    let missing = can_be_synced(Path::new("/nonexistent/mailbell")).unwrap_err();
    assert_eq!(errno(&missing), Some(libc::ENOENT));
}
