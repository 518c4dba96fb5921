//! Files of secrets, read again while the daemon runs.
//!
//! They are read anew every few seconds rather than watched for notifications, since secrets are often
//! mounted through links that are swapped, and network file systems that give none. Where one cannot be read,
//! or could not have been loaded at the start, all stay as they are.

use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use crate::config::secrets;

/// How often the files are read.
const EVERY: Duration = Duration::from_secs(5);

/// The files of one key of the configuration, and the secrets that they last gave.
#[derive(Debug)]
pub struct SecretFiles {
    key: String,
    files: Vec<PathBuf>,
    read: fn(&Path) -> Result<SecretString, String>,
    secrets: Vec<SecretString>,
    /// The log has said that a file is of no use, and for which reason.
    warned: Option<String>,
    next: Instant,
}

/// What a look at the files found.
#[derive(Debug)]
enum Found {
    /// Nothing new.
    Same,
    /// Other secrets.
    New,
    /// A file that is of no use, as it was not at the last look.
    Useless(String),
}

impl SecretFiles {
    /// Watches files that gave these secrets when the configuration was loaded; there may be none.
    pub fn new(key: impl Into<String>, files: Vec<PathBuf>, secrets: Vec<SecretString>) -> Self {
        Self {
            key: key.into(),
            files,
            read: secrets::read,
            secrets,
            warned: None,
            next: Instant::now(),
        }
    }

    /// Watches the file, if any, of a secret that Meta gave out.
    pub fn of_meta(key: String, file: Option<&PathBuf>, secret: Option<&SecretString>) -> Self {
        Self {
            read: secrets::read_unbroken,
            ..Self::new(
                key,
                file.into_iter().cloned().collect(),
                secret.into_iter().cloned().collect(),
            )
        }
    }

    /// When the files are due to be read again; `None` where there are none.
    pub fn next(&self) -> Option<Instant> {
        (!self.files.is_empty()).then_some(self.next)
    }

    /// The secrets that the files last gave.
    pub fn secrets(&self) -> &[SecretString] {
        &self.secrets
    }

    /// Reads the files if they are due. Whether they give other secrets than before.
    pub async fn have_changed(&mut self) -> bool {
        let now = Instant::now();
        if self.next().is_none_or(|next| now < next) {
            return false;
        }
        self.next = now + EVERY;
        match self.look().await {
            Found::Same => false,
            Found::New => {
                tracing::info!(
                    key = self.key,
                    "a secret in a file has changed; the new one is used from now on"
                );
                true
            }
            Found::Useless(problem) => {
                tracing::warn!(
                    key = self.key,
                    problem,
                    "a file of a secret is of no use; the old secret stays in use"
                );
                false
            }
        }
    }

    async fn look(&mut self) -> Found {
        let (files, read) = (self.files.clone(), self.read);
        let read = move || -> Result<Vec<_>, String> {
            let read = |file: &PathBuf| {
                read(file).map_err(|problem| format!("{}: {problem}", file.display()))
            };
            files.iter().map(read).collect()
        };
        let secrets = match spawn_blocking(read).await {
            Ok(Ok(secrets)) => secrets,
            Ok(Err(problem)) if self.warned.as_ref() != Some(&problem) => {
                self.warned = Some(problem.clone());
                return Found::Useless(problem);
            }
            // Said already; or the runtime is about to end.
            Ok(Err(_)) | Err(_) => return Found::Same,
        };
        self.warned = None;
        let exposed = |secrets: &[SecretString]| -> Vec<String> {
            let exposed = secrets.iter().map(ExposeSecret::expose_secret);
            exposed.map(str::to_owned).collect()
        };
        if exposed(&self.secrets) == exposed(&secrets) {
            return Found::Same;
        }
        self.secrets = secrets;
        Found::New
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Points a link at a file of its own, in one step, as the volumes of Kubernetes do.
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
        // The last is what a secret of Meta's would be.
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
                Found::Same => "same",
                Found::New => "new",
                Found::Useless(_) => "useless",
            };
            assert_eq!(found, expected, "{name}");
            assert_secret(&open, secret);
            metas.look().await;
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
