//! Where a source gives out tokens: `.well-known/smart-configuration` (SMART App
//! Launch, "Conformance").

use model::SigningAlgorithm;
use serde::Deserialize;
use url::Url;

use super::TokenError;

/// A token endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// As it is written: an assertion names it letter by letter.
    pub(crate) audience: String,
    pub(crate) url: Url,
    /// What it says it can verify; empty where it does not say.
    pub(crate) algorithms: Vec<SigningAlgorithm>,
}

#[derive(Deserialize)]
struct Wire {
    token_endpoint: Option<String>,
    #[serde(default)]
    token_endpoint_auth_signing_alg_values_supported: Option<Vec<String>>,
}

impl Endpoint {
    /// The endpoint that a configuration names.
    pub(crate) fn discovered(body: &[u8], base: &Url) -> Result<Self, TokenError> {
        let wire: Wire = serde_json::from_slice(body).map_err(|_| TokenError::Protocol {
            what: "its smart-configuration cannot be read",
        })?;
        let text = wire.token_endpoint.ok_or(TokenError::Config {
            what: "its smart-configuration names no token endpoint; give its URL",
        })?;
        let algorithms = wire
            .token_endpoint_auth_signing_alg_values_supported
            .unwrap_or_default();
        Ok(Self {
            algorithms: algorithms
                .iter()
                .filter_map(|word| word.parse().ok())
                .collect(),
            ..Self::configured(&text, base)?
        })
    }

    /// The endpoint at a URL. Secrets do not leave in the clear where the records
    /// do not come in the clear.
    pub(crate) fn configured(text: &str, base: &Url) -> Result<Self, TokenError> {
        let url = Url::parse(text).map_err(|_| TokenError::Config {
            what: "the URL of its token endpoint cannot be read",
        })?;
        let is_open = url.scheme() == "http" && base.scheme() == "http";
        if url.scheme() != "https" && !is_open {
            return Err(TokenError::Config {
                what: "its token endpoint is not at https",
            });
        }
        if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
            return Err(TokenError::Config {
                what: "the URL of its token endpoint holds a user or a fragment",
            });
        }
        Ok(Self {
            audience: text.to_owned(),
            url,
            algorithms: Vec::new(),
        })
    }

    /// What to sign with: the one that was chosen, else one that is verified there.
    /// RS384 is what most have had longest.
    pub(crate) fn algorithm(&self, chosen: Option<SigningAlgorithm>) -> SigningAlgorithm {
        if let Some(chosen) = chosen {
            return chosen;
        }
        let preferred = [SigningAlgorithm::Rs384, SigningAlgorithm::Es384];
        if self.algorithms.is_empty() {
            return preferred[0];
        }
        let found = preferred.iter().find(|of| self.algorithms.contains(of));
        *found.unwrap_or(&preferred[0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_https_where_the_base_is() {
        let base: Url = "https://ehr.example/fhir".parse().unwrap();
        let open: Url = "http://127.0.0.1/fhir".parse().unwrap();
        assert!(Endpoint::configured("https://auth.example/token", &base).is_ok());
        assert!(Endpoint::configured("http://127.0.0.1/token", &open).is_ok());
        for refused in [
            "http://auth.example/token",
            "ftp://auth.example/token",
            "https://user@auth.example/token",
            "token",
        ] {
            assert!(Endpoint::configured(refused, &base).is_err(), "{refused}");
        }
    }

    #[test]
    fn the_algorithm_is_one_that_is_verified_there() {
        let base: Url = "https://ehr.example/fhir".parse().unwrap();
        let of = |algorithms: &str| {
            let body = format!(
                r#"{{"token_endpoint":"https://ehr.example/T","token_endpoint_auth_signing_alg_values_supported":{algorithms}}}"#
            );
            let endpoint = Endpoint::discovered(body.as_bytes(), &base).unwrap();
            assert_eq!(endpoint.audience, "https://ehr.example/T");
            endpoint.algorithm(None)
        };
        assert_eq!(of(r#"["ES384","RS384"]"#), SigningAlgorithm::Rs384);
        assert_eq!(of(r#"["RS256","ES384"]"#), SigningAlgorithm::Es384);
        assert_eq!(of("null"), SigningAlgorithm::Rs384);
        assert!(matches!(
            Endpoint::discovered(b"{}", &base),
            Err(TokenError::Config { .. })
        ));
        assert!(matches!(
            Endpoint::discovered(b"<html>", &base),
            Err(TokenError::Protocol { .. })
        ));
    }
}
