//! kling-relay: a webhook-driven event processor for the Kling AI video platform.
