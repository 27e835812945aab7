//! One task and the two shapes in which the platform shows it.

use std::sync::Arc;

use rust_decimal::Decimal;
use serde_json::{Map, Value, json};
use tokio::sync::oneshot;

use super::callbacks::Outgoing;
use super::catalogue::{Product, Standard, Yield};
use super::price::Ask;
use super::tags::{BillingFault, Faults, Moment};

/// Where a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Submitted,
    Processing,
    Succeeded,
    Failed,
}

impl Status {
    /// The word of the new standard.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Submitted => "submitted",
            Self::Processing => "processing",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
        }
    }

    /// The word of the legacy standard.
    ///
    /// Source: platform reference 0 (point 3).
    pub(super) fn legacy_word(self) -> &'static str {
        match self {
            Self::Succeeded => "succeed",
            other => other.word(),
        }
    }

    /// Whether the task has ended.
    pub(super) fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed)
    }

    /// Which callback belongs to it.
    pub(super) fn moment(self) -> Moment {
        match self {
            Self::Submitted => Moment::Submitted,
            Self::Processing => Moment::Processing,
            Self::Succeeded | Self::Failed => Moment::Terminal,
        }
    }
}

/// Who reads a task: legacy callbacks leave out `watermark_url`, and faults differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reader {
    Callback,
    Query,
}

/// One thing that a task made.
#[derive(Debug, Clone)]
pub(super) struct Output {
    pub(super) id: u64,
    pub(super) urls: Vec<String>,
    pub(super) watermark_url: String,
    pub(super) duration: String,
}

/// A task as the platform remembers it.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) id: u64,
    pub(super) standard: Standard,
    pub(super) product: &'static Product,
    pub(super) model: String,
    pub(super) external_id: Option<String>,
    pub(super) callback_url: Option<String>,
    pub(super) key_name: String,
    pub(super) watermark: bool,
    pub(super) ask: Ask,
    pub(super) body: Value,
    pub(super) price: Decimal,
    pub(super) pool: String,
    pub(super) slots: u32,
    pub(super) faults: Arc<Faults>,
    pub(super) status: Status,
    pub(super) message: String,
    pub(super) created_ms: i64,
    pub(super) updated_ms: i64,
    pub(super) visible_ms: i64,
    pub(super) outputs: Vec<Output>,
    /// Units that it says were deducted, once it has ended.
    pub(super) deducted: Option<Decimal>,
    /// US dollars that it says were deducted beside them.
    pub(super) paid_cash: Decimal,
    /// Look-ups by id so far, for faults that strike the first few.
    pub(super) lookups: u32,
    /// Downloads so far by output and file.
    pub(super) downloads: Vec<((usize, usize), u32)>,
    /// A callback that waits for the terminal one to go first.
    pub(super) deferred: Option<Outgoing>,
    /// Ends when the newest callback so far has been tried.
    pub(super) last_turn: Option<oneshot::Receiver<()>>,
}

impl Task {
    /// The task in the shape of the standard that created it.
    pub(super) fn shape(&self, reader: Reader) -> Value {
        match self.standard {
            Standard::New => self.new_shape(reader),
            Standard::Legacy => self.legacy_shape(reader),
        }
    }

    /// What a create answers.
    ///
    /// Source: platform reference 2.2, 2.5.
    pub(super) fn created(&self) -> Value {
        match self.standard {
            Standard::New => {
                let mut data = json!({
                    "id": self.id.to_string(),
                    "status": Status::Submitted.word(),
                    "message": "",
                    "create_time": self.created_ms,
                    "update_time": self.created_ms,
                });
                if let Some(external_id) = &self.external_id {
                    data["external_id"] = json!(external_id);
                }
                data
            }
            Standard::Legacy => json!({
                "task_id": self.id.to_string(),
                "task_status": Status::Submitted.legacy_word(),
                "task_info": self.task_info(),
                "created_at": self.created_ms,
                "updated_at": self.created_ms,
            }),
        }
    }

    /// The task object of the new standard, for tasks of both standards.
    ///
    /// Source: platform reference 2.4.
    pub(super) fn new_shape(&self, reader: Reader) -> Value {
        let mut data = Map::new();
        data.insert("id".to_owned(), json!(self.id.to_string()));
        data.insert("status".to_owned(), json!(self.status.word()));
        data.insert("message".to_owned(), json!(self.message));
        data.insert("create_time".to_owned(), json!(self.created_ms));
        data.insert("update_time".to_owned(), json!(self.updated_ms));
        if let Some(external_id) = &self.external_id {
            data.insert("external_id".to_owned(), json!(external_id));
        }
        let outputs: Vec<Value> = self
            .outputs
            .iter()
            .map(|output| self.new_output(output))
            .collect();
        data.insert("outputs".to_owned(), json!(outputs));
        if let Some(amount) = self.shown_deduction(reader) {
            data.insert("billing".to_owned(), self.billing(amount));
        }
        Value::Object(data)
    }

    fn billing(&self, amount: Decimal) -> Value {
        let package_type = match self.product.yields {
            Yield::Audio | Yield::Voice => "audio",
            _ => self.product.pack.filter_name(),
        };
        let entry = |amount: Decimal| {
            let amount = amount.normalize().to_string();
            json!({ "charge_type": "unit", "amount": amount, "package_type": package_type })
        };
        if self.faults.billing.contains(&BillingFault::Split) {
            let half = (amount / Decimal::TWO).round_dp(2);
            return json!([entry(half), entry(amount - half)]);
        }
        if self.paid_cash.is_zero() {
            return json!([entry(amount)]);
        }
        let dollars = self.paid_cash.normalize().to_string();
        let cash = json!({ "charge_type": "cash", "amount": dollars, "cash_type": "balance",
            "currency": "USD", "list_price": dollars });
        match amount.is_zero() {
            true => json!([cash]),
            false => json!([entry(amount), cash]),
        }
    }

    fn new_output(&self, output: &Output) -> Value {
        let url = output.urls.first().cloned().unwrap_or_default();
        let id = output.id.to_string();
        match self.product.yields {
            Yield::Video => json!({ "type": "video", "id": id, "url": url,
                "watermark_url": output.watermark_url, "duration": output.duration }),
            Yield::Image | Yield::Views => json!({ "type": "image", "url": url,
                "watermark_url": output.watermark_url }),
            Yield::Audio => json!({ "type": "audio", "id": id, "mp3_url": url,
                "wav_url": output.urls.get(1), "mp3_duration": output.duration,
                "wav_duration": output.duration }),
            Yield::Voice => json!({ "type": "voice", "id": id, "name": self.ask.prompt,
                "url": url, "owned_by": "100001", "status": "succeeded" }),
            Yield::Element => json!({ "type": "element", "id": id, "name": self.ask.prompt,
                "description": "", "element_type": "multi_image_elements",
                "references": [{ "type": "image", "role": "frontal", "url": url }],
                "owned_by": "100001", "status": "succeeded", "tags": [] }),
        }
    }

    /// The task object of the legacy standard.
    ///
    /// Source: platform reference 2.5, 3.2 (key order of a real callback).
    pub(super) fn legacy_shape(&self, reader: Reader) -> Value {
        let mut data = Map::new();
        data.insert("task_id".to_owned(), json!(self.id.to_string()));
        data.insert("task_status".to_owned(), json!(self.status.legacy_word()));
        data.insert("task_info".to_owned(), self.task_info());
        data.insert("task_result".to_owned(), self.task_result(reader));
        data.insert("task_status_msg".to_owned(), json!(self.message));
        if reader == Reader::Query && self.product.yields == Yield::Video {
            data.insert(
                "watermark_info".to_owned(),
                json!({ "enabled": self.watermark }),
            );
        }
        if let Some(amount) = self.shown_deduction(reader) {
            let amount = amount.normalize().to_string();
            data.insert("final_unit_deduction".to_owned(), json!(amount));
            if !self.paid_cash.is_zero() {
                let dollars = self.paid_cash.normalize().to_string();
                let cash = json!({ "quota": dollars, "list_price": dollars });
                data.insert("final_balance_deduction".to_owned(), cash);
            }
        }
        data.insert("created_at".to_owned(), json!(self.created_ms));
        data.insert("updated_at".to_owned(), json!(self.updated_ms));
        Value::Object(data)
    }

    fn task_info(&self) -> Value {
        match &self.external_id {
            Some(external_id) => json!({ "external_task_id": external_id }),
            None => json!({}),
        }
    }

    fn task_result(&self, reader: Reader) -> Value {
        if self.status != Status::Succeeded {
            return json!({});
        }
        let made: Vec<Value> = self
            .outputs
            .iter()
            .enumerate()
            .map(|(index, output)| self.legacy_output(index, output, reader))
            .collect();
        let key = match self.product.yields {
            Yield::Video => "videos",
            Yield::Image | Yield::Views => "images",
            Yield::Audio => "audios",
            Yield::Element => "elements",
            Yield::Voice => "voices",
        };
        let mut result = match reader {
            Reader::Callback => json!({ "images": [], "videos": [], "audios": [] }),
            Reader::Query => json!({}),
        };
        result[key] = json!(made);
        result
    }

    fn legacy_output(&self, index: usize, output: &Output, reader: Reader) -> Value {
        let id = output.id.to_string();
        let url = output.urls.first();
        let mut shape = match self.product.yields {
            Yield::Video => json!({ "id": id, "url": url, "duration": output.duration }),
            Yield::Image => json!({ "index": index, "url": url }),
            Yield::Views => json!({ "index": index, "url_1": url,
                "url_2": output.urls.get(1), "url_3": output.urls.get(2) }),
            Yield::Audio => json!({ "id": id, "url_mp3": url, "url_wav": output.urls.get(1),
                "duration_mp3": output.duration, "duration_wav": output.duration }),
            Yield::Element => json!({ "element_id": output.id, "element_name": self.ask.prompt,
                "element_frontal_image": url, "owned_by": "100001", "status": "succeed" }),
            Yield::Voice => json!({ "voice_id": id, "voice_name": self.ask.prompt,
                "trial_url": url, "owned_by": "100001", "status": "succeed" }),
        };
        if self.product.name == "effects" {
            shape
                .as_object_mut()
                .map(|fields| fields.remove("duration"));
        }
        let marked = matches!(self.product.yields, Yield::Video | Yield::Image);
        if reader == Reader::Query && marked {
            shape["watermark_url"] = json!(output.watermark_url);
        }
        shape
    }

    fn shown_deduction(&self, reader: Reader) -> Option<Decimal> {
        let hidden = self.faults.billing.contains(&BillingFault::Never)
            || (reader == Reader::Callback && self.faults.billing.contains(&BillingFault::None));
        self.deducted.filter(|_| !hidden)
    }
}
