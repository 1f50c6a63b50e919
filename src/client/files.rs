//! Files of rules and keys that are taken up again when they change. Knows no format.

use core::time::Duration;
use std::boxed::Box;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::SystemTime;

use super::event::Event;
use super::handle::{AsyncClient, Shared};
use crate::keyring::Keyring;
use crate::policy::Policy;
use crate::store::{FilesError, read_files};

/// So often files that change while they are read are read again in one look.
const AGAIN: usize = 3;

impl<V> AsyncClient<V> {
    /// Takes up a policy file and a key file now, and whenever one of them has changed since the last
    /// look, as [`reload`](Self::reload) does: both or none. [`Event::Reloaded`] tells that they are in
    /// force, [`Event::ReloadFailed`] why they are not; then those before stay, until a file changes
    /// again. Looks every `pause` at size, time and, on Unix, inode and status, so replace a
    /// file by renaming another to its name.
    ///
    /// Spawn it: it runs until the event loop and all clients are dropped. The files are read on
    /// threads that may block.
    pub fn watch_files(
        &self,
        policy: impl Into<PathBuf>,
        keys: impl Into<PathBuf>,
        pause: Duration,
    ) -> impl Future<Output = ()> + Send + 'static {
        watch(self.downgrade(), Files { policy: policy.into(), keys: keys.into() }, pause)
    }
}

async fn watch(client: Weak<Shared>, files: Files, pause: Duration) {
    let files = Arc::new(files);
    let mut seen = None;
    while client.strong_count() > 0 {
        let (files, before) = (Arc::clone(&files), seen);
        let looked = tokio::task::spawn_blocking(move || files.look(before)).await;
        // the runtime ends
        let Ok((now, read)) = looked else { return };
        seen = Some(now);
        if let Some(read) = read {
            let Some(client) = client.upgrade() else { return };
            client.take_up_files(read);
        }
        tokio::time::sleep(pause).await;
    }
}

impl Shared {
    fn take_up_files(&self, read: Result<(Policy, Keyring), FilesError>) {
        let failed: Box<dyn core::error::Error + Send + Sync> = match read {
            Ok((policy, keyring)) => match self.reload(policy, keyring) {
                Ok(()) => return,
                Err(error) => error.into(),
            },
            Err(error) => error.into(),
        };
        self.inbox.push_or_miss(Event::ReloadFailed { error: failed });
    }
}

struct Files {
    policy: PathBuf,
    keys: PathBuf,
}

impl Files {
    /// What both look like now, and what they say if that has changed.
    #[expect(clippy::type_complexity, reason = "it is taken apart at once")]
    fn look(
        &self,
        before: Option<[Stamp; 2]>,
    ) -> ([Stamp; 2], Option<Result<(Policy, Keyring), FilesError>>) {
        // before they are read: what changes meanwhile is read again
        let mut now = self.stamps();
        if before == Some(now) {
            return (now, None);
        }
        let mut read = read_files(&self.policy, &self.keys);
        // at once, or the same would be told twice; what changes on and on, at the next look
        for _ in 0..AGAIN {
            let after = self.stamps();
            if after == now {
                break;
            }
            (now, read) = (after, read_files(&self.policy, &self.keys));
        }
        (now, Some(read))
    }

    fn stamps(&self) -> [Stamp; 2] {
        [Stamp::of(&self.policy), Stamp::of(&self.keys)]
    }
}

/// By what a file is known to have changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Stamp {
    len: Option<u64>,
    modified: Option<SystemTime>,
    inode: Option<u64>,
    /// Its mode, and when its status changed: whoever may read it now may not have before.
    status: Option<(u32, i64, i64)>,
}

impl Stamp {
    pub(super) fn of(path: &Path) -> Self {
        let Ok(found) = fs::metadata(path) else { return Self::default() };
        #[cfg(unix)]
        let (inode, status) = {
            use std::os::unix::fs::MetadataExt;
            (Some(found.ino()), Some((found.mode(), found.ctime(), found.ctime_nsec())))
        };
        #[cfg(not(unix))]
        let (inode, status) = (None, None);
        Self { len: Some(found.len()), modified: found.modified().ok(), inode, status }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::{String, ToString};

    use rumqttc::MqttOptions;

    use crate::client::rumqttc_v4::{ClientOptions, EventLoop, V4};
    use crate::guard::{Guard, QoS};
    use crate::policy::Links;
    use crate::store::key_file::{KeyFile, write_new};

    const PAUSE: Duration = Duration::from_millis(1);
    const DEADLINE: Duration = Duration::from_mins(1);

    /// A folder with both files, and a client that watches them.
    struct Watched {
        folder: tempfile::TempDir,
        client: AsyncClient<V4>,
        events: EventLoop,
        task: tokio::task::JoinHandle<()>,
    }

    fn rule(topics: &str, payload: &str) -> String {
        std::format!(
            "[[rule]]\ntopics = [\"{topics}\"]\npayload = \"{payload}\"\ntransport = \"tcp\"\n"
        )
    }

    impl Watched {
        async fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let [policy, keys] = ["policy.toml", "keys.toml"].map(|name| folder.path().join(name));
            fs::write(&policy, rule("a/#", "sealed")).unwrap();
            let file = KeyFile::generate("test", &mut getrandom::SysRng).unwrap();
            write_new(&keys, &file).unwrap();
            let (rules, keyring) = read_files(&policy, &keys).unwrap();
            let guard = Guard::new(rules, keyring, Links::Tcp).unwrap();
            let options = ClientOptions::new().tcp(MqttOptions::new("client", "127.0.0.1", 1));
            let (client, events) = AsyncClient::<V4>::new(guard, options, 10).unwrap();
            let task = tokio::spawn(client.watch_files(policy, keys, PAUSE));
            let mut watched = Self { folder, client, events, task };
            // the first look
            assert_eq!(watched.told().await, None);
            watched
        }

        /// Replaces the policy file.
        fn replace(&self, text: &str) {
            let other = self.folder.path().join("other");
            fs::write(&other, text).unwrap();
            fs::rename(other, self.folder.path().join("policy.toml")).unwrap();
        }

        /// How the next reload ends: with a text, if it fails.
        async fn told(&mut self) -> Option<String> {
            loop {
                let event = tokio::time::timeout(DEADLINE, self.events.poll()).await;
                match event.expect("nothing was told").expect("the event loop ended") {
                    Event::Reloaded => return None,
                    Event::ReloadFailed { error } => return Some(error.to_string()),
                    _ => {}
                }
            }
        }

        fn publishes_to(&self, topic: &str) -> bool {
            self.client.try_publish(topic, QoS::AtLeastOnce, false, "text").is_ok()
        }
    }

    #[tokio::test]
    async fn changed_file_is_in_force_without_a_restart() {
        let mut watched = Watched::new().await;
        assert!(!watched.publishes_to("b/1"));
        watched.replace(&[rule("a/#", "sealed"), rule("b/#", "sealed")].concat());
        assert_eq!(watched.told().await, None);
        assert!(watched.publishes_to("b/1"));
    }

    #[tokio::test]
    async fn bad_file_is_told_once_and_leaves_the_old_in_force() {
        let mut watched = Watched::new().await;
        watched.replace("nonsense");
        let nonsense = watched.told().await.expect("nothing is in force");
        assert!(nonsense.starts_with("the policy file: "), "{nonsense}");
        assert!(watched.publishes_to("a/1"));
        // several looks at the same
        tokio::time::sleep(PAUSE * 20).await;
        fs::remove_file(watched.folder.path().join("policy.toml")).unwrap();
        let told = watched.told().await.expect("there is no file");
        assert!(told.starts_with("the policy file: ") && told != nonsense, "{told}");
        // and one that takes a seal off
        watched.replace(&rule("a/#", "clear"));
        assert!(watched.told().await.is_some());
        assert!(watched.publishes_to("a/1"));
        watched.replace(&rule("#", "sealed"));
        assert_eq!(watched.told().await, None);
    }

    /// A pipe is read when the test lets it, and by then another file has its name.
    #[cfg(unix)]
    #[test]
    fn file_that_is_replaced_while_it_is_read_is_told_once() {
        use std::io::Write as _;

        let folder = tempfile::tempdir().unwrap();
        let [policy, keys, other] =
            ["policy.toml", "keys.toml", "other"].map(|name| folder.path().join(name));
        write_new(&keys, &KeyFile::generate("test", &mut getrandom::SysRng).unwrap()).unwrap();
        let made = std::process::Command::new("mkfifo").arg(&policy).status();
        assert!(made.unwrap().success());
        let files = Arc::new(Files { policy: policy.clone(), keys });
        let looks = Arc::clone(&files);
        let looking = std::thread::spawn(move || looks.look(None));
        let mut pipe = fs::File::options().write(true).open(&policy).unwrap();
        fs::write(&other, rule("a/#", "sealed")).unwrap();
        fs::rename(other, policy).unwrap();
        pipe.write_all(b"nonsense").unwrap();
        drop(pipe);
        let (seen, read) = looking.join().unwrap();
        assert!(read.unwrap().is_ok(), "what was replaced is told");
        assert!(files.look(Some(seen)).1.is_none(), "the same is told again");
    }

    /// As the message asks for.
    #[cfg(unix)]
    #[tokio::test]
    async fn key_file_whose_mode_is_corrected_is_taken_up() {
        use std::os::unix::fs::PermissionsExt;

        let mut watched = Watched::new().await;
        let keys = watched.folder.path().join("keys.toml");
        let change = |mode| fs::set_permissions(&keys, fs::Permissions::from_mode(mode)).unwrap();
        change(0o644);
        watched.replace(&[rule("a/#", "sealed"), rule("b/#", "sealed")].concat());
        let told = watched.told().await.expect("others can read the keys");
        assert!(told.contains("0644"), "{told}");
        change(0o600);
        while watched.told().await.is_some() {}
        assert!(watched.publishes_to("b/1"));
    }

    #[tokio::test]
    async fn watch_ends_with_its_client() {
        let watched = Watched::new().await;
        let Watched { client, events, task, .. } = watched;
        drop((client, events));
        tokio::time::timeout(DEADLINE, task).await.expect("it goes on").unwrap();
    }
}
