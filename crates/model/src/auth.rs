//! The words for how Chartlift proves itself where a source gives out tokens.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::state::{WordError, words};

words!(
    /// How a client proves itself at a token endpoint (OAuth 2.0 and SMART App
    /// Launch).
    ClientMethod, "client authentication method" {
        /// It does not: a public client, which has no secret.
        Public = "none",
        /// By its secret, in the header `Authorization: Basic`.
        Basic = "client_secret_basic",
        /// By its secret, in the body.
        Post = "client_secret_post",
        /// By a JWT that it signs with one of Chartlift's own keys.
        Signed = "private_key_jwt",
    }
);

words!(
    /// An algorithm that SMART names for signing as a client.
    SigningAlgorithm, "signing algorithm" {
        /// RSASSA-PKCS1-v1_5 with SHA-384.
        Rs384 = "RS384",
        /// ECDSA with P-384 and SHA-384.
        Es384 = "ES384",
    }
);
