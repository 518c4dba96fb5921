//! What goes over the wire, and what each way to fail is taken for.

use std::net::SocketAddr;
use std::num::NonZeroUsize;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::config::*;

use super::*;
