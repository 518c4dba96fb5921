//! Paths as they are meant: one slash between the parts, and none behind the last.
//!
//! Rewrites of web frameworks add a slash at the end, and a base URL joined to a path doubles one.
//! Amplitude answers there, so its SDKs never had to care.

use axum::http::Uri;
use axum::http::uri::PathAndQuery;

/// Gives the address with a tidy path; `None` where it has one.
pub(super) fn normalized(uri: &Uri) -> Option<Uri> {
    let path = uri.path();
    if path == "/" || !(path.ends_with('/') || path.contains("//")) {
        return None;
    }
    let mut normal = String::with_capacity(uri.path().len());
    for part in path.split('/').filter(|part| !part.is_empty()) {
        normal.push('/');
        normal.push_str(part);
    }
    if normal.is_empty() {
        normal.push('/');
    }
    if let Some(query) = uri.query() {
        normal.push('?');
        normal.push_str(query);
    }
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(normal).ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_surplus_slashes_out() {
        for (uri, expected) in [
            ("/2/httpapi/", Some("/2/httpapi")),
            ("//2//httpapi", Some("/2/httpapi")),
            ("/identify/?a=//&b=/", Some("/identify?a=//&b=/")),
            ("/webhook/web//", Some("/webhook/web")),
            ("//", Some("/")),
            ("/2/httpapi", None),
            ("/2/httpapi?a=//", None),
            ("/", None),
            ("*", None),
            ("http://host//batch/", Some("http://host/batch")),
        ] {
            let uri: Uri = uri.parse().unwrap();
            let found = normalized(&uri).map(|uri| uri.to_string());
            assert_eq!(found.as_deref(), expected, "{uri}");
        }
    }
}
