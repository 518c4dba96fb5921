//! Removes surplus slashes from paths.
//!
//! Rewrites of web frameworks add a slash at the end, and a base URL that is joined to a path doubles one.
//! Amplitude's servers accept both.

use axum::http::Uri;
use axum::http::uri::PathAndQuery;

/// The address without surplus slashes; `None` if it has none.
pub(super) fn normalized(uri: &Uri) -> Option<Uri> {
    let path = uri.path();
    if path == "/" || !(path.ends_with('/') || path.contains("//")) {
        return None;
    }
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let mut normal = format!("/{}", parts.join("/"));
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
