//! A connection over HTTP/2: one task reads what the client sends, begins what it asks for, and writes what is answered.
//!
//! Calls of the KV service that take little time are futures of this task. All else has a task of its own, which says
//! what it has to say through a channel. What is answered at the same time is written together: under load more than
//! half of a server's time would go into system calls that each send one answer. So before it writes, the task lets
//! others run once, whose answers then go with it; an answer that is alone waits for nobody.

use super::body::{self, Incoming, PARTS_MAX, Said, Tell};
use crate::{
    api::{
        App, CommonName,
        unary::{Call, Unary, is_one_message},
    },
    backend::Backend,
    http2::{Broken, Connection, Event, code},
};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use http::{HeaderMap, Request};
use rustc_hash::FxHashMap;
use std::{
    cell::RefCell,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::{Semaphore, mpsc, watch},
    task::AbortHandle,
    time::{Instant, Sleep},
};
use tonic::Status;

/// etcd's defaults for connections without traffic.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(2 * 60 * 60);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// Octets that are read at once.
const READ_BYTES: usize = 64 << 10;
/// With so much to be written nothing more is read, and nothing that can wait is made ready.
const OUT_BYTES_MAX: usize = 256 << 10;
/// So much is written without letting others run before.
const HELD_BYTES_MAX: usize = 64 << 10;
/// After so many rounds others have a turn.
const ROUNDS_MAX: u32 = 8;
/// A client may have so many calls under way, those included that it gave up.
const CALLS_MAX: usize = 1 << 17;

/// What a client is told that made the connection useless.
const TOO_MANY: Broken = Broken { code: code::ENHANCE_YOUR_CALM, why: "too many calls under way" };

thread_local! {
    /// A connection that waits needs no memory to read into.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
}

/// What the headers of a request say.
struct Head {
    request: Request<()>,
    /// `None`: it takes a task of its own.
    call: Option<Call>,
}

/// A request under way. Calls that are futures of the connection are not here.
enum Work {
    /// Its message is to come, or the word that this was all.
    Gathering { head: Arc<Head>, message: Option<Bytes> },
    /// It has a task.
    Task { task: Aborted, rest: Option<mpsc::UnboundedSender<Bytes>>, room: Arc<Semaphore> },
}

/// A task that ends with its stream.
struct Aborted(AbortHandle);

impl Drop for Aborted {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// How a connection goes on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd)]
enum Stage {
    Open,
    /// What is under way is served.
    WindingUp,
    /// What is to be written is.
    Closing,
    Over,
}

struct Driver<S, B> {
    socket: S,
    app: Arc<App<B>>,
    name: Option<CommonName>,
    connection: Connection<Head>,
    events: Vec<Event<Head>>,
    work: FxHashMap<u32, Work>,
    said: mpsc::UnboundedReceiver<(u32, Said)>,
    sayer: mpsc::UnboundedSender<(u32, Said)>,
    stage: Stage,
    /// Others had their turn since something is to be written.
    yielded: bool,
    /// Too much is to be written for anything to be read.
    deaf: bool,
    heard: Instant,
    keep_alive: Pin<Box<Sleep>>,
    pinged: bool,
}

/// Serves a client that has sent its preface, and these octets after it.
pub(super) async fn serve<B: Backend>(
    socket: impl AsyncRead + AsyncWrite + Unpin + Send,
    first: &[u8],
    name: Option<CommonName>,
    app: Arc<App<B>>,
    mut stopping: watch::Receiver<()>,
) {
    let (sayer, said) = mpsc::unbounded_channel();
    let of_heads = name.clone();
    let mut driver = Driver {
        socket,
        connection: Connection::new(move |request| {
            let call = Call::of(&request, of_heads.as_ref());
            Head { request, call }
        }),
        name,
        events: Vec::new(),
        work: FxHashMap::default(),
        said,
        sayer,
        stage: Stage::Open,
        yielded: false,
        deaf: false,
        heard: Instant::now(),
        keep_alive: Box::pin(tokio::time::sleep(KEEP_ALIVE_INTERVAL)),
        pinged: false,
        app: app.clone(),
    };
    let mut calls = FuturesUnordered::new();
    let begin = |stream, head: Arc<Head>, unary| {
        let app = app.clone();
        async move {
            let called = match &head.call {
                Some(call) => app.unary(call, unary).await,
                None => Err(Status::internal("it is no call")),
            };
            (stream, called)
        }
    };
    driver.take_in(first);
    driver.begin(&mut |stream, head, unary| calls.push(begin(stream, head, unary)));
    let mut stop = pin!(stopping.changed());
    let mut stopped = false;
    poll_fn(|cx| {
        // An error too: the sender is gone.
        if !stopped && stop.as_mut().poll(cx).is_ready() {
            stopped = true;
            driver.wind_up();
        }
        driver.poll(&mut calls, begin, cx)
    })
    .await;
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send, B: Backend> Driver<S, B> {
    fn poll<F: Future<Output = (u32, Result<Vec<u8>, Status>)>>(
        &mut self,
        calls: &mut FuturesUnordered<F>,
        begin: impl Fn(u32, Arc<Head>, Unary) -> F,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        self.keep_alive(cx);
        for round in 0.. {
            let mut busy = self.read(cx);
            self.begin(&mut |stream, head, unary| calls.push(begin(stream, head, unary)));
            if calls.len() > CALLS_MAX {
                self.broken(TOO_MANY);
            }
            while let Poll::Ready(Some((stream, called))) = calls.poll_next_unpin(cx) {
                busy = true;
                self.called(stream, called);
            }
            while let Poll::Ready(Some((stream, said))) = self.said.poll_recv(cx) {
                busy = true;
                self.hear(stream, said);
            }
            self.send_pending();
            if !busy {
                break;
            }
            if round == ROUNDS_MAX {
                cx.waker().wake_by_ref();
                break;
            }
        }
        if self.stage == Stage::WindingUp && self.connection.streams() == 0 {
            self.connection.close(code::NO_ERROR, "");
            self.stage = Stage::Closing;
        }
        match self.write(cx) {
            // Nothing was read for all that was to be written.
            Poll::Ready(true) if std::mem::take(&mut self.deaf) => cx.waker().wake_by_ref(),
            Poll::Ready(true) => {}
            Poll::Ready(false) => self.stage = Stage::Over,
            Poll::Pending => {}
        }
        if self.stage == Stage::Over { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Reads what there is, and takes it in. Gives whether there was something.
    fn read(&mut self, cx: &mut Context<'_>) -> bool {
        self.deaf = self.connection.to_write().len() >= OUT_BYTES_MAX;
        if self.stage >= Stage::Closing || self.deaf {
            return false;
        }
        SCRATCH.with_borrow_mut(|scratch| {
            let mut octets = ReadBuf::new(scratch);
            match Pin::new(&mut self.socket).poll_read(cx, &mut octets) {
                Poll::Pending => false,
                Poll::Ready(Ok(())) if !octets.filled().is_empty() => {
                    self.heard = Instant::now();
                    self.take_in(octets.filled());
                    true
                }
                Poll::Ready(end) => {
                    if let Err(error) = end {
                        tracing::debug!(%error, "connection ended");
                    }
                    self.stage = Stage::Over;
                    false
                }
            }
        })
    }

    fn take_in(&mut self, octets: &[u8]) {
        if let Err(broken) = self.connection.receive(octets, &mut self.events) {
            self.broken(broken);
        }
    }

    fn broken(&mut self, broken: Broken) {
        if self.stage < Stage::Closing {
            tracing::debug!(error = %broken, "connection ended");
            self.connection.close(broken.code, broken.why);
            self.stage = Stage::Closing;
            // Who does not listen to what the mistake was is not waited for.
            self.keep_alive.as_mut().reset(Instant::now() + KEEP_ALIVE_TIMEOUT);
        }
    }

    fn wind_up(&mut self) {
        if self.stage == Stage::Open {
            self.connection.wind_up();
            self.stage = Stage::WindingUp;
        }
    }

    /// Begins what the client asked for.
    fn begin(&mut self, call: &mut impl FnMut(u32, Arc<Head>, Unary)) {
        let mut events = std::mem::take(&mut self.events);
        for event in events.drain(..) {
            match event {
                Event::Head { stream, head, end } if head.call.is_some() && !end => {
                    self.work.insert(stream, Work::Gathering { head, message: None });
                }
                Event::Head { stream, head, end } => self.spawn(stream, &head, [], end),
                Event::Data { stream, data, end } => self.body(stream, data, end, call),
                Event::Reset { stream } => _ = self.work.remove(&stream),
            }
        }
        self.events = events;
    }

    /// Takes in a part of a request's body.
    fn body(&mut self, stream: u32, data: Bytes, end: bool, call: &mut impl FnMut(u32, Arc<Head>, Unary)) {
        match self.work.remove(&stream) {
            Some(Work::Gathering { head, message: None }) => {
                if !is_one_message(&data, self.app.max_message_bytes()) {
                    self.spawn(stream, &head, [data], end);
                } else if end {
                    self.call(stream, head, data, call);
                } else {
                    self.work.insert(stream, Work::Gathering { head, message: Some(data) });
                }
            }
            Some(Work::Gathering { head, message: Some(message) }) => {
                if end && data.is_empty() {
                    self.call(stream, head, message, call);
                } else {
                    self.spawn(stream, &head, [message, data], end);
                }
            }
            Some(Work::Task { task, rest: Some(rest), room }) => {
                if !data.is_empty() {
                    // A task that has ended without reading it all needs it no more.
                    let _ = rest.send(data);
                }
                let rest = (!end).then_some(rest);
                self.work.insert(stream, Work::Task { task, rest, room });
            }
            Some(work @ Work::Task { rest: None, .. }) => _ = self.work.insert(stream, work),
            None => self.connection.consumed(stream, data.len()),
        }
    }

    /// Begins a call of the KV service.
    fn call(
        &mut self,
        stream: u32,
        head: Arc<Head>,
        message: Bytes,
        begin: &mut impl FnMut(u32, Arc<Head>, Unary),
    ) {
        match head.call.as_ref().and_then(|call| Unary::decode(call, &message)) {
            Some(unary) if unary.is_quick() => {
                self.connection.consumed(stream, message.len());
                begin(stream, head, unary);
            }
            Some(unary) => {
                self.connection.consumed(stream, message.len());
                let (app, tell) = (self.app.clone(), self.tell(stream));
                self.track(stream, None, None, async move {
                    if let Some(call) = &head.call {
                        tell.say(Said::Called(app.unary(call, unary).await));
                    }
                });
            }
            // The library says what is wrong with it.
            None => self.spawn(stream, &head, [message], true),
        }
    }

    fn tell(&self, stream: u32) -> Tell {
        Tell { stream, sender: self.sayer.clone() }
    }

    /// Gives a request a task of its own.
    fn spawn<const N: usize>(&mut self, stream: u32, head: &Head, parts: [Bytes; N], end: bool) {
        let (rest, incoming) = mpsc::unbounded_channel();
        for part in parts.into_iter().filter(|part| !part.is_empty()) {
            // The receiver is at hand.
            let _ = rest.send(part);
        }
        let tell = self.tell(stream);
        let request = head.request.clone().map(|()| Incoming { parts: incoming, tell: tell.clone() });
        let room = Arc::new(Semaphore::new(PARTS_MAX));
        let answer = body::answer(self.app.clone(), request, self.name.clone(), tell, room.clone());
        self.track(stream, (!end).then_some(rest), Some(room), answer);
    }

    fn track(
        &mut self,
        stream: u32,
        rest: Option<mpsc::UnboundedSender<Bytes>>,
        room: Option<Arc<Semaphore>>,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let task = Aborted(tokio::spawn(task).abort_handle());
        let room = room.unwrap_or_else(|| Arc::new(Semaphore::new(0)));
        self.work.insert(stream, Work::Task { task, rest, room });
    }

    fn hear(&mut self, stream: u32, said: Said) {
        // What was said before the stream ended is of no use to anybody.
        if !self.work.contains_key(&stream) {
            return;
        }
        let over = match said {
            Said::Consumed(bytes) => {
                self.connection.consumed(stream, bytes);
                false
            }
            Said::Head { status, headers, end } => {
                self.connection.head(stream, status, &headers, end);
                end
            }
            Said::Data(data) => {
                self.connection.data(stream, data);
                false
            }
            Said::End(trailers) => {
                self.connection.end(stream, trailers);
                true
            }
            Said::Failed(code) => {
                self.connection.reset(stream, code);
                true
            }
            Said::Called(called) => {
                self.called(stream, called);
                true
            }
        };
        if over {
            self.work.remove(&stream);
        }
    }

    fn called(&mut self, stream: u32, called: Result<Vec<u8>, Status>) {
        match called {
            Ok(message) => self.connection.answer(stream, &message),
            Err(refusal) => {
                let headers: HeaderMap = refusal.into_http::<()>().into_parts().0.headers;
                self.connection.head(stream, 200, &headers, true);
            }
        }
    }

    fn send_pending(&mut self) {
        let work = &self.work;
        self.connection.send_pending(OUT_BYTES_MAX, |stream| {
            if let Some(Work::Task { room, .. }) = work.get(&stream) {
                room.add_permits(1);
            }
        });
    }

    /// Writes what is to be written. `false`: there is nobody to write to.
    fn write(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        if self.stage == Stage::Over {
            return Poll::Ready(false);
        }
        let held = self.connection.to_write().len();
        if held > 0 && held < HELD_BYTES_MAX && !self.yielded && self.stage < Stage::Closing {
            self.yielded = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        while !self.connection.to_write().is_empty() {
            match ready!(Pin::new(&mut self.socket).poll_write(cx, self.connection.to_write())) {
                Ok(0) => return Poll::Ready(false),
                Ok(octets) => self.connection.written(octets),
                Err(error) => {
                    tracing::debug!(%error, "connection ended");
                    return Poll::Ready(false);
                }
            }
            if self.connection.to_write().is_empty() {
                self.send_pending();
            }
        }
        self.yielded = false;
        if ready!(Pin::new(&mut self.socket).poll_flush(cx)).is_err() {
            return Poll::Ready(false);
        }
        if self.stage == Stage::Closing {
            let _ = ready!(Pin::new(&mut self.socket).poll_shutdown(cx));
            return Poll::Ready(false);
        }
        Poll::Ready(true)
    }

    /// Asks a client that has been silent for long whether it is there.
    fn keep_alive(&mut self, cx: &mut Context<'_>) {
        while self.keep_alive.as_mut().poll(cx).is_ready() {
            let due = self.heard + KEEP_ALIVE_INTERVAL;
            let next = if due > Instant::now() && self.stage < Stage::Closing {
                self.pinged = false;
                due
            } else if self.pinged || self.stage == Stage::Closing {
                tracing::debug!("connection ended: the client is silent");
                self.stage = Stage::Over;
                return;
            } else {
                self.pinged = true;
                self.connection.ping();
                Instant::now() + KEEP_ALIVE_TIMEOUT
            };
            self.keep_alive.as_mut().reset(next);
        }
    }
}
