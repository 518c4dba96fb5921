//! Files of secrets, watched.
//!
//! They are read anew every few seconds rather than watched for notifications, since secrets are often
//! mounted through links that are swapped, and network file systems that give none. Where one cannot be read,
//! or holds no secret, all stay as they are.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::config::secrets;
use crate::ingest::auth::Gate;

/// How often the files are read.
const EVERY: Duration = Duration::from_secs(5);

/// Watches the files whose secrets let requests in.
#[derive(Debug)]
pub struct SecretFiles {
    key: &'static str,
    files: Vec<PathBuf>,
    gate: Arc<Gate>,
    /// The log has said that a file is of no use, and for which reason.
    warned: Option<String>,
}

/// What a look at the files found.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// Nothing new.
    Same,
    /// Other secrets, which are accepted from now on.
    New,
    /// A file that is of no use, as it was not at the last look.
    Useless(String),
}

impl SecretFiles {
    /// Watches the files of a key of the configuration; there may be none.
    pub fn new(key: &'static str, files: Vec<PathBuf>, gate: Arc<Gate>) -> Self {
        Self {
            key,
            files,
            gate,
            warned: None,
        }
    }

    /// Looks again and again until the shutdown.
    pub async fn run(mut self, shutdown: CancellationToken) {
        if self.files.is_empty() {
            return shutdown.cancelled().await;
        }
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = sleep(EVERY) => {}
            }
            match self.step().await {
                Found::Same => {}
                Found::New => tracing::info!(
                    key = self.key,
                    "a file of secrets has changed; the new secret is asked for"
                ),
                Found::Useless(problem) => tracing::warn!(
                    key = self.key,
                    problem,
                    "a file of secrets is of no use; the old secret is asked for"
                ),
            }
        }
    }

    /// Looks once.
    async fn step(&mut self) -> Found {
        let files = self.files.clone();
        let read = move || -> Result<Vec<_>, String> {
            let read = |file: &PathBuf| {
                secrets::read(file).map_err(|problem| format!("{}: {problem}", file.display()))
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
        if self.gate.replace(&secrets) {
            Found::New
        } else {
            Found::Same
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use axum::http::HeaderMap;

    use crate::config::AdminConfig;

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

    #[tokio::test]
    async fn a_new_secret_is_taken_and_nonsense_never() {
        let folder = tempfile::tempdir().unwrap();
        let gate = Arc::new(Gate::for_admin(&AdminConfig {
            listen: "127.0.0.1:0".parse().unwrap(),
            secret: Some("one".into()),
            secret_file: None,
        }));
        let admits = |secret: &str| {
            let mut headers = HeaderMap::new();
            let value = format!("Bearer {secret}");
            headers.insert("authorization", value.parse().unwrap());
            gate.admits(&headers)
        };
        let file = folder.path().join("secret");
        let mut files = SecretFiles::new("admin.secret_file", vec![file], Arc::clone(&gate));
        let steps = [
            ("a", Some("one\n"), "same", "one"),
            ("b", Some(" two \n"), "new", "two"),
            ("b", Some("two"), "same", "two"),
            ("c", Some(" \n"), "useless", "two"),
            ("c", Some(" \n"), "same", "two"),
            ("d", Some("thr\u{e9}e"), "useless", "two"),
            ("e", None, "useless", "two"),
            ("f", Some("two"), "same", "two"),
            ("e", None, "useless", "two"),
            ("g", Some("three"), "new", "three"),
        ];
        for (name, content, expected, admitted) in steps {
            swap(folder.path(), name, content);
            let found = match files.step().await {
                Found::Same => "same",
                Found::New => "new",
                Found::Useless(_) => "useless",
            };
            assert_eq!(found, expected, "{name}");
            for secret in ["one", "two", "three"] {
                assert_eq!(admits(secret), secret == admitted, "{name}: {secret}");
            }
        }
    }
}
