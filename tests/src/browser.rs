//! A real browser, driven by the `WebDriver` protocol (W3C): headless Chromium by way of `chromedriver` from the PATH.
//!
//! Without `chromedriver` a test is skipped, or fails if the variable `BACKSTOP_BROWSER` is `required`.
#![allow(
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a helper of a test may fail it, or say that it is skipped"
)]

use std::{
    env,
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use reqwest::{Client, Method};
use serde_json::{Value, json};

/// A test that waits for longer fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// The key by which `WebDriver` names an element in JSON.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A key that [`Browser::press`] can press, by its code in the `WebDriver` standard.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "these are keys")]
pub enum Key {
    Tab,
    Enter,
    Space,
}

/// A browser with one page, which ends when this is dropped.
#[derive(Debug)]
pub struct Browser {
    driver: Child,
    address: SocketAddr,
    client: Client,
    session: String,
}

impl Browser {
    /// Starts a browser. `None` if there is none, and the test may be skipped.
    pub async fn start() -> Option<Self> {
        let spawned = Command::new("chromedriver").arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut driver = match spawned {
            Ok(driver) => driver,
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::NotFound, "chromedriver doesn't start: {error}");
                assert_ne!(env::var("BACKSTOP_BROWSER").as_deref(), Ok("required"), "there is no chromedriver");
                eprintln!("skipped: chromedriver isn't installed");
                return None;
            }
        };
        let mut output = BufReader::new(driver.stdout.take().unwrap());
        let port = loop {
            let mut line = String::new();
            assert_ne!(output.read_line(&mut line).unwrap(), 0, "chromedriver ended");
            if let Some((_, port)) = line.split_once("successfully on port ") {
                break port.trim_end_matches(['.', '\n']).parse().unwrap();
            }
        };
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let client = Client::builder().no_proxy().timeout(PATIENCE * 2).build().unwrap();
        let mut browser = Self { driver, address, client, session: String::new() };
        let args = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"];
        let asked = json!({ "capabilities": { "alwaysMatch": {
            "goog:chromeOptions": { "args": args },
            "goog:loggingPrefs": { "browser": "ALL" },
            "timeouts": { "script": PATIENCE.as_millis() as u64 },
        } } });
        let began = browser.send(Method::POST, "/session", Some(asked)).await.unwrap();
        browser.session = began["sessionId"].as_str().unwrap().to_owned();
        Some(browser)
    }

    async fn send(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value, String> {
        let mut request = self.client.request(method, format!("http://{}{path}", self.address));
        if let Some(body) = body {
            request = request.body(body.to_string());
        }
        let text = request.send().await.expect("chromedriver is away").text().await.unwrap();
        let value = serde_json::from_str::<Value>(&text).unwrap()["value"].take();
        match value.get("error") {
            Some(error) => Err(format!("{error}: {}", value["message"])),
            None => Ok(value),
        }
    }

    /// Sends a command of this session.
    async fn command(&self, name: &str, body: Value) -> Result<Value, String> {
        self.send(Method::POST, &format!("/session/{}/{name}", self.session), Some(body)).await
    }

    /// Sends a command of Chromium's own protocol.
    async fn devtools(&self, name: &str, parameters: Value) -> Value {
        self.command("goog/cdp/execute", json!({ "cmd": name, "params": parameters })).await.unwrap()
    }

    /// Opens a page, and returns when it has loaded.
    pub async fn open(&self, url: &str) {
        self.command("url", json!({ "url": url })).await.unwrap();
    }

    /// Runs the body of a function in the page, and returns what it returns.
    pub async fn run(&self, script: &str) -> Value {
        let done = self.command("execute/sync", json!({ "script": script, "args": [] })).await;
        done.unwrap_or_else(|error| panic!("{script}: {error}"))
    }

    /// Waits until an expression is true in the page, and returns its value.
    pub async fn until(&self, expression: &str) -> Value {
        // The page itself looks again and again, so no request is sent meanwhile.
        let script = format!(
            "const done = arguments[0]; (function look() {{ const value = {expression}; \
             if (value) done(value); else setTimeout(look, 20); }})();"
        );
        let found = self.command("execute/async", json!({ "script": script, "args": [] })).await;
        match found {
            Ok(value) => value,
            Err(error) => panic!("never: {expression}: {error}; the page says: {}", self.text("body").await),
        }
    }

    /// Waits until the text of an element contains these words.
    pub async fn until_text(&self, selector: &str, words: &str) {
        let (selector, words) = (json!(selector), json!(words));
        self.until(&format!("document.querySelector({selector})?.textContent.includes({words})")).await;
    }

    async fn find(&self, selector: &str) -> String {
        let found = self.command("element", json!({ "using": "css selector", "value": selector })).await;
        let found = found.unwrap_or_else(|error| panic!("no {selector}: {error}"));
        found[ELEMENT].as_str().unwrap().to_owned()
    }

    /// Clicks an element with the mouse. It fails if the element isn't visible, or lies under another.
    pub async fn click(&self, selector: &str) {
        let element = self.find(selector).await;
        let clicked = self.command(&format!("element/{element}/click"), json!({})).await;
        clicked.unwrap_or_else(|error| panic!("can't click {selector}: {error}"));
    }

    /// Types into an element, or chooses the option of a list that begins with this text.
    pub async fn type_into(&self, selector: &str, text: &str) {
        let element = self.find(selector).await;
        self.command(&format!("element/{element}/value"), json!({ "text": text })).await.unwrap();
    }

    /// The text of an element, as a reader sees it.
    pub async fn text(&self, selector: &str) -> String {
        let element = self.find(selector).await;
        let path = format!("/session/{}/element/{element}/text", self.session);
        self.send(Method::GET, &path, None).await.unwrap().as_str().unwrap().to_owned()
    }

    /// Presses a key where the focus is.
    pub async fn press(&self, key: Key) {
        let key = match key {
            Key::Tab => "\u{e004}",
            Key::Enter => "\u{e007}",
            Key::Space => " ",
        };
        let actions = json!([{ "type": "keyDown", "value": key }, { "type": "keyUp", "value": key }]);
        let keyboard = json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": actions }] });
        self.command("actions", keyboard).await.unwrap();
    }

    /// Continues inside the frame of this element, until the next page is opened or [`leave_frame`](Self::leave_frame) is called.
    pub async fn enter_frame(&self, selector: &str) {
        let element = self.find(selector).await;
        self.command("frame", json!({ "id": { ELEMENT: element } })).await.unwrap();
    }

    /// Continues in the page itself.
    pub async fn leave_frame(&self) {
        self.command("frame", json!({ "id": null })).await.unwrap();
    }

    /// Sets the size of the page, in pixels.
    pub async fn resize(&self, width: u32, height: u32) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", size).await;
    }

    /// Sets what the page learns of the user's wishes: `[("prefers-color-scheme", "dark")]`.
    pub async fn prefer(&self, features: &[(&str, &str)]) {
        let features: Vec<_> = features.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
        self.devtools("Emulation.setEmulatedMedia", json!({ "features": features })).await;
    }

    /// A picture of the whole page, also of what lies below the window, as PNG.
    pub async fn picture(&self) -> Vec<u8> {
        let shot = self.devtools("Page.captureScreenshot", json!({ "captureBeyondViewport": true })).await;
        STANDARD.decode(shot["data"].as_str().unwrap()).unwrap()
    }

    /// The role and the name of each element that a screen reader knows.
    pub async fn accessible_names(&self) -> Vec<(String, String)> {
        let tree = self.devtools("Accessibility.getFullAXTree", json!({})).await;
        let nodes = tree["nodes"].as_array().unwrap().iter().filter(|node| node["ignored"] == false);
        let text = |node: &Value, field: &str| node[field]["value"].as_str().unwrap_or_default().to_owned();
        nodes.map(|node| (text(node, "role"), text(node, "name"))).collect()
    }

    /// What the console said since the last call: errors of scripts, of the network, and of the page's policy.
    pub async fn console(&self) -> Vec<String> {
        let said = self.command("se/log", json!({ "type": "browser" })).await.unwrap();
        said.as_array().unwrap().iter().map(|line| line["message"].as_str().unwrap().to_owned()).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver would leave the browser running if it were only killed.
        _ = end_session(self.address, &self.session);
        _ = self.driver.kill();
        _ = self.driver.wait();
    }
}

/// Without a runtime, since a destructor can't wait for one.
fn end_session(address: SocketAddr, session: &str) -> io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(stream, "DELETE /session/{session} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    stream.read_to_end(&mut Vec::new())?;
    Ok(())
}
