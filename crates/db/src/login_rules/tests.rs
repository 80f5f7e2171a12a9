//! Which logins fit which source.

use super::*;

#[test]
fn what_does_not_fit_together_is_refused() {
    use ClientMethod::{Basic, Post, Public, Signed};
    use SourceAuth::{BackendServices, Bearer, ClientCredentials, None as Open, Smart};
    let given = |auth, method, secret: bool| {
        let login = GivenLogin {
            client_id: "app".to_owned(),
            client_secret: secret.then(|| "hush".to_owned()),
            method,
            ..GivenLogin::default()
        };
        login.checked(auth).map(|open| open.login.method).ok()
    };
    assert_eq!(given(Smart, None, false), Some(Public));
    assert_eq!(given(Smart, None, true), Some(Basic));
    assert_eq!(given(Smart, Some(Post), true), Some(Post));
    assert_eq!(given(Smart, Some(Signed), false), Some(Signed));
    assert_eq!(given(ClientCredentials, None, true), Some(Basic));
    assert_eq!(given(BackendServices, None, false), Some(Signed));
    for (auth, method, secret) in [
        (Open, None, false),
        (Bearer, None, true),
        (Smart, Some(Post), false),
        (Smart, Some(Public), true),
        (ClientCredentials, None, false),
        (ClientCredentials, Some(Signed), false),
        (BackendServices, Some(Basic), true),
        (BackendServices, None, true),
    ] {
        assert_eq!(given(auth, method, secret), None, "{auth:?} {method:?}");
    }
    let signs = GivenLogin {
        algorithm: Some(SigningAlgorithm::Es384),
        ..GivenLogin::default()
    };
    assert!(signs.clone().checked(Smart).is_err());
    assert!(signs.checked(BackendServices).is_ok());
}
