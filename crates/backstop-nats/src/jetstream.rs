//! The requests of JetStream's API that the store makes, and their answers.
//!
//! The feature `jetstream` of `async-nats` has them, too, but it logs what it reads and writes: the payloads of jobs.

use std::{error::Error, fmt};

use async_nats::{Client, HeaderMap, Request, RequestErrorKind, StatusCode, Subject, connection::State};
use backstop_kit::{StoreError, log_text};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde_json::{Value, json};

const CONSUMER_NOT_FOUND: u64 = 10014;
const NO_MESSAGE: u64 = 10037;
const SEQUENCE_NOT_FOUND: u64 = 10043;
const DELETE_FAILED: u64 = 10057;
const STREAM_EXISTS: u64 = 10058;
const STREAM_NOT_FOUND: u64 = 10059;
const WRONG_SEQUENCE: [u64; 2] = [10071, 10164];
const STORE_FAILED: u64 = 10077;

/// The server has understood the request, and refused it.
#[derive(Debug)]
struct Refusal {
    code: u64,
    description: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the server answered: {} ({})", self.description, self.code)
    }
}

impl Error for Refusal {}

/// A message of a stream.
pub(crate) struct StreamMessage {
    pub(crate) subject: String,
    pub(crate) sequence: u64,
    pub(crate) payload: Bytes,
}

/// What a publish did.
pub(crate) enum Published {
    /// The message is stored, under this sequence number.
    At(u64),
    /// The subject's last message has another sequence number than expected.
    WrongSequence,
    /// The stream has its `max_msgs`.
    Full,
}

impl Published {
    /// The sequence number, or `None` if it wasn't the expected one, on a stream without `max_msgs`.
    pub(crate) fn if_expected(self) -> Result<Option<u64>, StoreError> {
        match self {
            Self::At(sequence) => Ok(Some(sequence)),
            Self::WrongSequence => Ok(None),
            Self::Full => Err("the stream of records is full".into()),
        }
    }
}

#[derive(Clone)]
pub(crate) struct JetStream {
    pub(crate) client: Client,
    /// What the subjects of JetStream's API begin with.
    api: String,
}

impl JetStream {
    /// The API of this domain, or of the server's own.
    pub(crate) fn new(client: Client, domain: Option<&str>) -> Self {
        Self { client, api: domain.map_or_else(|| "$JS.API".to_owned(), |domain| format!("$JS.{domain}.API")) }
    }

    /// Publishes to a stream, if the subject's last message has this sequence number: 0 if there is none.
    pub(crate) async fn publish(
        &self,
        subject: String,
        payload: Bytes,
        last: Option<u64>,
    ) -> Result<Published, StoreError> {
        let mut request = Request::new().payload(payload);
        if let Some(last) = last {
            let mut headers = HeaderMap::new();
            headers.insert("Nats-Expected-Last-Subject-Sequence", last.to_string());
            request = request.headers(headers);
        }
        match self.ask(subject, request).await {
            Ok(answer) => number(&answer, "seq").map(Published::At),
            Err(error) => match refusal(&error) {
                Some(it) if WRONG_SEQUENCE.contains(&it.code) => Ok(Published::WrongSequence),
                // Not "maximum messages per subject exceeded".
                Some(it) if it.code == STORE_FAILED && it.description == "maximum messages exceeded" => {
                    Ok(Published::Full)
                }
                _ => Err(error),
            },
        }
    }

    /// The last message of a subject. The leader of the stream answers, so it isn't an old one.
    pub(crate) async fn last(&self, stream: &str, subject: &str) -> Result<Option<StreamMessage>, StoreError> {
        self.message(stream, json!({ "last_by_subj": subject })).await
    }

    /// The same, maybe an old one: any replica answers, in two thirds of the time.
    pub(crate) async fn last_of_any_replica(
        &self,
        stream: &str,
        subject: &str,
    ) -> Result<Option<(u64, Bytes)>, StoreError> {
        self.check_connected()?;
        let request = format!("{}.DIRECT.GET.{stream}.{subject}", self.api);
        let message = self.client.request(request, Bytes::new()).await.map_err(|error| text(error.kind()))?;
        match message.status {
            Some(StatusCode::NOT_FOUND) => return Ok(None),
            None | Some(StatusCode::OK) => {}
            Some(status) => return Err(format!("the server answered {status}").into()),
        }
        let sequence = message.headers.as_ref().and_then(|headers| headers.get("Nats-Sequence"));
        let sequence = sequence.and_then(|sequence| sequence.as_str().parse().ok());
        Ok(Some((sequence.ok_or("the server's answer has no sequence number")?, message.payload)))
    }

    /// The first message of these subjects whose sequence number is at least `sequence`.
    pub(crate) async fn next(
        &self,
        stream: &str,
        sequence: u64,
        subjects: &str,
    ) -> Result<Option<StreamMessage>, StoreError> {
        self.message(stream, json!({ "seq": sequence.max(1), "next_by_subj": subjects })).await
    }

    /// The message with this sequence number.
    pub(crate) async fn at(&self, stream: &str, sequence: u64) -> Result<Option<StreamMessage>, StoreError> {
        self.message(stream, json!({ "seq": sequence })).await
    }

    async fn message(&self, stream: &str, which: Value) -> Result<Option<StreamMessage>, StoreError> {
        let answer = match self.request(&format!("STREAM.MSG.GET.{stream}"), &which).await {
            Ok(answer) => answer,
            Err(error) if is(&error, NO_MESSAGE) => return Ok(None),
            Err(error) => return Err(error),
        };
        let message = &answer["message"];
        let subject = message["subject"].as_str().unwrap_or_default().to_owned();
        // An empty payload is left out.
        let payload = STANDARD.decode(message["data"].as_str().unwrap_or_default())?.into();
        Ok(Some(StreamMessage { subject, sequence: number(message, "seq")?, payload }))
    }

    /// Deletes a message. Whether it was there.
    pub(crate) async fn delete(&self, stream: &str, sequence: u64) -> Result<bool, StoreError> {
        // What is deleted isn't overwritten, which takes three times as long.
        let request = json!({ "seq": sequence, "no_erase": true });
        match self.request(&format!("STREAM.MSG.DELETE.{stream}"), &request).await {
            Ok(_) => Ok(true),
            Err(error) => match refusal(&error) {
                Some(it) if it.code == SEQUENCE_NOT_FOUND => Ok(false),
                // The same, if nothing is left around it. The code has other reasons, too.
                Some(it) if it.code == DELETE_FAILED && it.description == "no message found" => Ok(false),
                _ => Err(error),
            },
        }
    }

    /// What the server says about a stream. `None` if there is none.
    pub(crate) async fn stream(&self, stream: &str) -> Result<Option<Value>, StoreError> {
        optional(self.request(&format!("STREAM.INFO.{stream}"), &json!({})).await, STREAM_NOT_FOUND)
    }

    /// Creates a stream. `false` if somebody else just did.
    pub(crate) async fn create_stream(&self, stream: &str, config: &Value) -> Result<bool, StoreError> {
        let created = self.request(&format!("STREAM.CREATE.{stream}"), config).await;
        optional(created, STREAM_EXISTS).map(|created| created.is_some())
    }

    pub(crate) async fn update_stream(&self, stream: &str, config: &Value) -> Result<(), StoreError> {
        self.request(&format!("STREAM.UPDATE.{stream}"), config).await.map(drop)
    }

    pub(crate) async fn consumer(&self, stream: &str, consumer: &str) -> Result<Option<Value>, StoreError> {
        let info = self.request(&format!("CONSUMER.INFO.{stream}.{consumer}"), &json!({})).await;
        optional(info, CONSUMER_NOT_FOUND)
    }

    pub(crate) async fn create_consumer(
        &self,
        stream: &str,
        consumer: &str,
        config: &Value,
    ) -> Result<Value, StoreError> {
        let request = json!({ "stream_name": stream, "config": config });
        self.request(&format!("CONSUMER.DURABLE.CREATE.{stream}.{consumer}"), &request).await
    }

    /// Asks for messages that are there, at most `batch`, which are sent to `inbox`.
    pub(crate) async fn pull(
        &self,
        stream: &str,
        consumer: &str,
        batch: usize,
        inbox: Subject,
    ) -> Result<(), StoreError> {
        self.check_connected()?;
        let subject = format!("{}.CONSUMER.MSG.NEXT.{stream}.{consumer}", self.api);
        let request = json!({ "batch": batch, "no_wait": true }).to_string();
        Ok(self.client.publish_with_reply(subject, inbox, request.into()).await?)
    }

    /// Answers a delivery, and returns once the server has seen that.
    pub(crate) async fn acknowledge(&self, delivery: &Subject, answer: impl Into<Bytes>) -> Result<(), StoreError> {
        self.check_connected()?;
        self.client.request(delivery.clone(), answer.into()).await.map_err(|error| text(error.kind()))?;
        Ok(())
    }

    /// Answers a delivery, and waits for nothing.
    pub(crate) async fn send(&self, delivery: &Subject, answer: &'static [u8]) -> Result<(), StoreError> {
        self.check_connected()?;
        Ok(self.client.publish(delivery.clone(), Bytes::from_static(answer)).await?)
    }

    async fn request(&self, subject: &str, request: &Value) -> Result<Value, StoreError> {
        let request = Request::new().payload(request.to_string().into());
        self.ask(format!("{}.{subject}", self.api), request).await
    }

    async fn ask(&self, subject: String, request: Request) -> Result<Value, StoreError> {
        self.check_connected()?;
        let message = self.client.send_request(subject, request).await.map_err(|error| text(error.kind()))?;
        let answer: Value = serde_json::from_slice(&message.payload)?;
        let error = &answer["error"];
        if error.is_null() {
            return Ok(answer);
        }
        let description = log_text(error["description"].as_str().unwrap_or_default());
        Err(Refusal { code: error["err_code"].as_u64().unwrap_or_default(), description }.into())
    }

    /// A call without a connection fails at once. The client would keep what is published until it is connected again.
    fn check_connected(&self) -> Result<(), StoreError> {
        match self.client.connection_state() {
            State::Connected => Ok(()),
            State::Pending | State::Disconnected => Err("not connected to the server".into()),
        }
    }
}

/// `None` if the server has refused the request with this code.
fn optional(answer: Result<Value, StoreError>, code: u64) -> Result<Option<Value>, StoreError> {
    match answer {
        Err(error) if is(&error, code) => Ok(None),
        answer => answer.map(Some),
    }
}

fn refusal(error: &StoreError) -> Option<&Refusal> {
    error.downcast_ref()
}

fn is(error: &StoreError, code: u64) -> bool {
    refusal(error).is_some_and(|refusal| refusal.code == code)
}

pub(crate) fn number(answer: &Value, field: &str) -> Result<u64, StoreError> {
    answer[field].as_u64().ok_or_else(|| format!("the server's answer has no `{field}`").into())
}

fn text(kind: RequestErrorKind) -> StoreError {
    match kind {
        RequestErrorKind::NoResponders => {
            "the stream doesn't exist, or JetStream isn't enabled for this account".into()
        }
        kind => kind.to_string().into(),
    }
}
