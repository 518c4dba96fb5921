//! The socket's file: its place, its permissions, and a way around paths that are too long.
//!
//! A path in a socket address has room for about a hundred bytes. If the folder's path is longer, its open
//! descriptor names the folder, as Linux allows.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, fchmod};
use tokio::net::{UnixListener, UnixSocket, UnixStream};

/// The name of the socket in the queue folder.
const NAME: &str = "control.sock";
/// The longest path in a socket address that every system accepts, in bytes.
const LONGEST_PATH: usize = 100;
/// Connections that wait to be accepted.
const WAITING: u32 = 64;
/// Only the owner may connect.
const OWNER_ONLY: u32 = 0o600;

/// The socket's file, removed on drop.
#[derive(Debug)]
pub struct Socket(PathBuf);

impl Socket {
    /// Makes the socket, in place of a stale one. Leaves any other file of that name alone.
    pub(super) fn bind(folder: &Path) -> io::Result<(Self, UnixListener)> {
        let path = folder.join(NAME);
        match fs::symlink_metadata(&path) {
            Ok(there) if there.file_type().is_socket() => fs::remove_file(&path)?,
            Ok(_) => return Err(io::ErrorKind::AlreadyExists.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let address = Address::of(folder)?;
        let socket = UnixSocket::new_stream()?;
        // Linux gives the file the mode of the socket, so that nobody else can ever connect. On other
        // systems this may fail, and the mode follows at once.
        fchmod(&socket, Mode::RUSR | Mode::WUSR).ok();
        socket.bind(&address.path)?;
        let file = Self(path);
        fs::set_permissions(&file.0, Permissions::from_mode(OWNER_ONLY))?;
        let listener = socket.listen(WAITING)?;
        Ok((file, listener))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::debug!(%error, "the control socket was not removed");
        }
    }
}

/// Connects to the socket of a running daemon.
pub(super) async fn connect(folder: &Path) -> io::Result<UnixStream> {
    let address = Address::of(folder)?;
    UnixStream::connect(&address.path).await
}

/// A path that a socket address has room for. It is valid until this is dropped.
struct Address {
    path: PathBuf,
    /// The folder that the path names by its descriptor.
    _folder: Option<File>,
}

impl Address {
    fn of(folder: &Path) -> io::Result<Self> {
        let path = folder.join(NAME);
        if path.as_os_str().len() <= LONGEST_PATH {
            return Ok(Self {
                path,
                _folder: None,
            });
        }
        let opened = File::open(folder)?;
        Ok(Self {
            path: format!("/proc/self/fd/{}/{NAME}", opened.as_raw_fd()).into(),
            _folder: Some(opened),
        })
    }
}
