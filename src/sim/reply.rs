//! Answers: the envelope around data, and refusals with the platform's codes.
//!
//! Source: platform reference 1.3, 4.

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use serde_json::{Value, json};

/// A request that is answered with an error code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: u32,
    pub(super) message: String,
}

impl Refusal {
    /// A refusal with a text of its own.
    pub(super) fn new(code: u32, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// A refusal with the platform's usual text for this code.
    pub(super) fn of(code: u32) -> Self {
        Self::new(code, usual_text(code))
    }

    /// The status that goes with the code.
    pub(super) fn status(&self) -> StatusCode {
        match self.code {
            1000..=1004 => StatusCode::UNAUTHORIZED,
            1100..=1102 | 1302..=1304 => StatusCode::TOO_MANY_REQUESTS,
            1103 => StatusCode::FORBIDDEN,
            1202 | 1203 => StatusCode::NOT_FOUND,
            1200..=1301 => StatusCode::BAD_REQUEST,
            5001 => StatusCode::SERVICE_UNAVAILABLE,
            5002 => StatusCode::GATEWAY_TIMEOUT,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = self.status();
        let body = json!({
            "code": self.code,
            "message": self.message,
            "request_id": request_id(),
        });
        (status, Json(body)).into_response()
    }
}

/// Texts seen live where there are any, else the table's definitions.
fn usual_text(code: u32) -> &'static str {
    match code {
        1000 => "Authentication failed",
        1001 => "Authorization is empty",
        1002 => "Authorization is invalid",
        1003 => "Authorization is not yet valid",
        1004 => "Authorization has expired",
        1100 => "Abnormal account status",
        1101 => "Account in arrears",
        1102 => "Account balance not enough",
        1103 => "Unauthorized access to requested resource",
        1200 => "Invalid request parameters",
        1201 => "Invalid parameters",
        1202 => "The requested method is invalid",
        1203 => "The requested resource does not exist",
        1300 => "Request blocked by platform policy",
        1301 => "Trigger the platform's content security policy",
        1302 => "Too many requests; rate limit exceeded",
        1303 => "parallel task over resource pack limit",
        1304 => "Trigger the platform's IP whitelist policy",
        5001 => "Server temporarily unavailable",
        5002 => "Server internal timeout",
        _ => "Server internal error",
    }
}

/// A fresh `request_id`.
pub(super) fn request_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// The envelope of a success.
pub(super) fn envelope(data: Value) -> Value {
    json!({ "code": 0, "message": "SUCCEED", "request_id": request_id(), "data": data })
}

/// A success.
pub(super) fn ok(data: Value) -> Response {
    Json(envelope(data)).into_response()
}

/// What an unknown path gets: a page, not an envelope.
pub(super) fn not_found_page() -> Response {
    let page = "<html>\r\n<head><title>404 Not Found</title></head>\r\n<body>\r\n\
        <center><h1>404 Not Found</h1></center>\r\n</body>\r\n</html>\r\n";
    (StatusCode::NOT_FOUND, Html(page)).into_response()
}

/// A gateway's error page.
pub(super) fn gateway_page(status: StatusCode) -> Response {
    (
        status,
        Html(format!("<html><body><h1>{status}</h1></body></html>")),
    )
        .into_response()
}

/// A success status with a body that is no JSON.
pub(super) fn garbage() -> Response {
    (
        [(header::CONTENT_TYPE, "application/json")],
        "{\"code\":0,\"mess",
    )
        .into_response()
}

/// Marks a response that must not be sent: the connection is cut instead.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cut;

/// A connection that ends without an answer.
pub(super) fn cut() -> Response {
    let mut response = Response::default();
    response.extensions_mut().insert(Cut);
    response
}
