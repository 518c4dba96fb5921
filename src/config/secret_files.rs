//! Files of secrets, read again while the daemon runs.
//!
//! They are read every few seconds: notifications miss the links that mounted secrets are swapped through,
//! and network file systems give none. If one of a key's files is unusable, all its secrets stay as they are; so they
//! do while a file system hangs, which holds up nothing but the thread that reads.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, timeout};

use crate::config::{is_metas_secret, secrets};

/// How often the files are read.
const EVERY: Duration = Duration::from_secs(5);
/// How long whoever uses the secrets waits for the files. Meanwhile it does nothing else.
const WAIT: Duration = Duration::from_millis(500);

/// What the files hold, or what is wrong with one of them.
type FoundSecrets = Result<Vec<SecretString>, String>;

/// The files of one key of the configuration, and the secrets last read from them.
#[derive(Debug)]
pub struct SecretFiles {
    key: String,
    files: Vec<PathBuf>,
    check: fn(&str) -> bool,
    secrets: Vec<SecretString>,
    /// The problem that the log has already warned of.
    warned: Option<String>,
    /// A read that has not ended. There is never a second one.
    reading: Option<JoinHandle<FoundSecrets>>,
    next: Instant,
}

impl SecretFiles {
    /// Watches files, if any, that held these secrets when the configuration was loaded.
    pub fn new(key: impl Into<String>, files: Vec<PathBuf>, secrets: Vec<SecretString>) -> Self {
        Self {
            key: key.into(),
            files,
            check: secrets::is_printable,
            secrets,
            warned: None,
            reading: None,
            next: Instant::now(),
        }
    }

    /// Watches the file, if any, of a secret that Meta gave out.
    pub fn of_meta(key: String, file: Option<&PathBuf>, secret: Option<&SecretString>) -> Self {
        Self {
            check: is_metas_secret,
            ..Self::new(
                key,
                file.into_iter().cloned().collect(),
                secret.into_iter().cloned().collect(),
            )
        }
    }

    /// When the files are next due; `None` if there are none.
    pub fn next(&self) -> Option<Instant> {
        (!self.files.is_empty()).then_some(self.next)
    }

    /// The secrets that were last read.
    pub fn secrets(&self) -> &[SecretString] {
        &self.secrets
    }

    /// Reads the files if they are due. Says whether the secrets have changed.
    pub async fn have_changed(&mut self) -> bool {
        let now = Instant::now();
        if self.next().is_none_or(|next| now < next) {
            return false;
        }
        self.next = now + EVERY;
        let found = self.look().await;
        match &found {
            Ok(true) => tracing::info!(
                key = self.key,
                "a secret in a file has changed; the new one is used from now on"
            ),
            Ok(false) => {}
            Err(problem) => tracing::warn!(
                key = self.key,
                problem,
                "a file of a secret is of no use; the old secret stays in use"
            ),
        }
        found.unwrap_or(false)
    }

    /// Reads the files. Says whether the secrets have changed; an error tells of a problem once.
    async fn look(&mut self) -> Result<bool, String> {
        let mut reading = self.reading.take().unwrap_or_else(|| self.begin_to_read());
        let found = match timeout(WAIT, &mut reading).await {
            Ok(Ok(found)) => found,
            // The runtime is about to end.
            Ok(Err(_)) => return Ok(false),
            Err(_elapsed) => {
                self.reading = Some(reading);
                Err("a file cannot be read in time: its file system hangs".to_owned())
            }
        };
        let secrets = match found {
            Ok(secrets) => secrets,
            Err(problem) if self.warned.as_ref() != Some(&problem) => {
                self.warned = Some(problem.clone());
                return Err(problem);
            }
            // The log has warned already.
            Err(_) => return Ok(false),
        };
        self.warned = None;
        let exposed = |secrets: &[SecretString]| -> Vec<String> {
            let exposed = secrets.iter().map(ExposeSecret::expose_secret);
            exposed.map(str::to_owned).collect()
        };
        let have_changed = exposed(&self.secrets) != exposed(&secrets);
        self.secrets = secrets;
        Ok(have_changed)
    }

    fn begin_to_read(&self) -> JoinHandle<FoundSecrets> {
        let (files, check) = (self.files.clone(), self.check);
        spawn_blocking(move || {
            let read = |file: &PathBuf| {
                secrets::read(file, check)
                    .map_err(|problem| format!("{}: {problem}", file.display()))
            };
            files.iter().map(read).collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::path::Path;

    /// Points a link at another file in one step, as Kubernetes volumes do.
    fn swap(folder: &Path, name: &str, content: Option<&str>) {
        let target = folder.join(name);
        if let Some(content) = content {
            std::fs::write(&target, content).unwrap();
        }
        let new = folder.join("new");
        std::os::unix::fs::symlink(target, &new).unwrap();
        std::fs::rename(new, folder.join("secret")).unwrap();
    }

    #[track_caller]
    fn assert_secret(files: &SecretFiles, expected: &str) {
        let secrets: Vec<_> = files
            .secrets()
            .iter()
            .map(ExposeSecret::expose_secret)
            .collect();
        assert_eq!(secrets, [expected]);
    }

    #[tokio::test]
    async fn a_new_secret_is_taken_and_nonsense_never() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        let mut open = SecretFiles::new("admin.secret_file", vec![file.clone()], vec!["1".into()]);
        let key = "sync.web.access_token_file".to_owned();
        let mut metas = SecretFiles::of_meta(key, Some(&file), Some(&"1".into()));
        // The last column is the secret of Meta's.
        let steps = [
            ("a", Some("1\n"), "same", "1", "1"),
            ("b", Some(" two \n"), "new", "two", "two"),
            ("b", Some("two"), "same", "two", "two"),
            ("c", Some(" \n"), "useless", "two", "two"),
            ("c", Some(" \n"), "same", "two", "two"),
            ("d", Some("thr\u{e9}e"), "useless", "two", "two"),
            ("e", None, "useless", "two", "two"),
            ("f", Some("two"), "same", "two", "two"),
            ("e", None, "useless", "two", "two"),
            ("g", Some("three"), "new", "three", "three"),
            ("h", Some("two\nlines"), "useless", "three", "three"),
            ("i", Some("Bearer four"), "new", "Bearer four", "three"),
        ];
        for (name, content, expected, secret, metas_secret) in steps {
            swap(folder.path(), name, content);
            let found = match open.look().await {
                Ok(false) => "same",
                Ok(true) => "new",
                Err(_) => "useless",
            };
            assert_eq!(found, expected, "{name}");
            assert_secret(&open, secret);
            drop(metas.look().await);
            assert_secret(&metas, metas_secret);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn files_are_read_when_they_are_due() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        std::fs::write(&file, "two").unwrap();
        let mut files = SecretFiles::new("admin.secret_file", vec![file.clone()], vec!["1".into()]);
        assert!(files.have_changed().await);
        std::fs::write(&file, "three").unwrap();
        assert!(!files.have_changed().await, "not due yet");
        tokio::time::advance(EVERY).await;
        assert!(files.have_changed().await);
        assert!(!files.have_changed().await);
        let mut none = SecretFiles::new("admin.secret_file", Vec::new(), Vec::new());
        assert_eq!((none.next(), none.have_changed().await), (None, false));
    }
}
