//! A blocking connection to PostgreSQL that hands over many rows at a time, and to which several statements can be sent
//! before the first answer is taken.
//!
//! The `postgres` crate does the same around the same asynchronous client, but enters the runtime anew for each row,
//! which took a fifth of a full load's processor time, and sends one statement at a time.

use std::future::{self, Future};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::{FutureExt, TryStreamExt};
use postgres::types::{ToSql, Type};
use postgres::{Row, SimpleQueryMessage};
use tokio::runtime::{Builder, Runtime};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{AsyncMessage, Config, RowStream, Socket};

/// A connection to PostgreSQL.
pub(super) struct Client {
    // Fields are dropped from the first on: without a client the connection says goodbye to the server and ends.
    client: Arc<tokio_postgres::Client>,
    connection: Connection,
}

/// A statement that was sent and whose answer is still to be taken, by the client that sent it.
///
/// Answers come in the order of the statements. One that is dropped is read over when the next is taken. A client cannot
/// end before all of them are taken or dropped.
pub(super) struct Sent<T>(SentState<T>);

enum SentState<T> {
    Waiting(Pin<Box<dyn Future<Output = Result<T, postgres::Error>> + Send>>),
    Answered(Result<T, postgres::Error>),
}

impl<T> Sent<T> {
    /// Sends by asking for the answer a first time.
    fn new(answer: impl Future<Output = Result<T, postgres::Error>> + Send + 'static) -> Self {
        let mut answer: Pin<Box<dyn Future<Output = _> + Send>> = Box::pin(answer);
        Self(match (&mut answer).now_or_never() {
            Some(answered) => SentState::Answered(answered),
            None => SentState::Waiting(answer),
        })
    }

    async fn answer(self) -> Result<T, postgres::Error> {
        match self.0 {
            SentState::Waiting(answer) => answer.await,
            SentState::Answered(answered) => answered,
        }
    }
}

/// What sends and receives, on the calling thread and only while something is waited for.
struct Connection {
    runtime: Runtime,
    messages: Pin<Box<dyn Messages>>,
    /// How long the server may say nothing while something is waited for.
    silence_limit: Option<Duration>,
}

/// What the server sends besides answers, until the connection ends.
trait Messages: Send {
    fn poll_message(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<AsyncMessage, postgres::Error>>>;
}

impl<S, T> Messages for tokio_postgres::Connection<S, T>
where
    Self: Send + Unpin,
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    fn poll_message(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<AsyncMessage, postgres::Error>>> {
        tokio_postgres::Connection::poll_message(self.get_mut(), context)
    }
}

/// A connection that was given up.
struct GivenUp;

impl Messages for GivenUp {
    fn poll_message(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<AsyncMessage, postgres::Error>>> {
        Poll::Ready(None)
    }
}

/// Why a connection could not be opened.
pub(super) enum ConnectError {
    /// This machine gives no runtime: it has no file handles left, for example.
    Runtime(std::io::Error),
    /// The server, or the way to it.
    Server(postgres::Error),
}

impl Client {
    /// Opens a connection.
    pub(super) fn connect<T>(config: &Config, tls: T) -> Result<Self, ConnectError>
    where
        T: MakeTlsConnect<Socket>,
        T::TlsConnect: Send,
        T::Stream: Send + 'static,
        <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
    {
        let runtime = Builder::new_current_thread().enable_all().build().map_err(ConnectError::Runtime)?;
        let (client, messages) = runtime.block_on(config.connect(tls)).map_err(ConnectError::Server)?;
        let connection = Connection { runtime, messages: Box::pin(messages), silence_limit: None };
        Ok(Self { client: Arc::new(client), connection })
    }

    /// From now on gives the connection up when the server says nothing for so long while an answer is waited for.
    ///
    /// It may be a network that drops what it should carry, or an answer that cannot be read on: the client library asks
    /// the server what a type is that it does not know, in the middle of the rows that have it, and waits for ever if
    /// there are many.
    pub(super) fn limit_silence(&mut self, limit: Duration) {
        self.connection.silence_limit = Some(limit);
    }

    /// Runs statements without parameters, separated by semicolons, and takes no rows.
    pub(super) fn batch_execute(&mut self, statements: &str) -> Result<(), postgres::Error> {
        self.connection.block_on(self.client.batch_execute(statements))
    }

    /// Returns all rows of a statement.
    pub(super) fn query_typed(
        &mut self,
        statement: &str,
        parameters: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<Vec<Row>, postgres::Error> {
        self.connection.block_on(self.client.query_typed(statement, parameters))
    }

    /// Returns the row of a statement that has exactly one.
    pub(super) fn query_typed_one(
        &mut self,
        statement: &str,
        parameters: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<Row, postgres::Error> {
        self.connection.block_on(self.client.query_typed_one(statement, parameters))
    }

    /// Sends a statement, whose rows are taken later.
    pub(super) fn send(
        &mut self,
        statement: String,
        parameters: Vec<(Box<dyn ToSql + Sync + Send>, Type)>,
    ) -> Sent<RowStream> {
        let client = Arc::clone(&self.client);
        Sent::new(async move { client.query_typed_raw(&statement, parameters).await })
    }

    /// Hands the rows of a statement that was sent to `sink` as they come, until it wants no more.
    ///
    /// No more is read ahead than what lies in the socket's buffer and the row after it.
    pub(super) fn take_rows(
        &mut self,
        sent: Sent<RowStream>,
        mut sink: impl FnMut(&Row) -> bool,
    ) -> Result<(), postgres::Error> {
        self.connection.block_on(async {
            let mut rows = pin!(sent.answer().await?);
            while let Some(row) = rows.try_next().await? {
                if !sink(&row) {
                    break;
                }
            }
            Ok(())
        })
    }

    /// Sends statements without parameters, separated by semicolons, whose rows are taken later.
    pub(super) fn send_simple(&mut self, statements: String) -> Sent<Vec<SimpleQueryMessage>> {
        let client = Arc::clone(&self.client);
        Sent::new(async move { client.simple_query(&statements).await })
    }

    /// Returns the rows of such statements as texts.
    pub(super) fn take_simple(
        &mut self,
        sent: Sent<Vec<SimpleQueryMessage>>,
    ) -> Result<Vec<SimpleQueryMessage>, postgres::Error> {
        self.connection.block_on(sent.answer())
    }
}

impl Connection {
    /// Sends and receives until `work` is done.
    fn block_on<T>(
        &mut self,
        work: impl Future<Output = Result<T, postgres::Error>>,
    ) -> Result<T, postgres::Error> {
        let mut work = pin!(work);
        let (messages, limit) = (&mut self.messages, self.silence_limit);
        self.runtime.block_on(async {
            let mut silence = limit.map(|limit| (limit, Box::pin(sleep_until(Instant::now() + limit))));
            future::poll_fn(|context| {
                // It is ready when the connection has ended, of which the work hears as well.
                if let Poll::Ready(Err(error)) = poll_to_end(messages, context) {
                    return Poll::Ready(Err(error));
                }
                if let Poll::Ready(done) = work.as_mut().poll(context) {
                    return Poll::Ready(done);
                }
                if let Some((limit, silence)) = &mut silence
                    && is_over(silence.as_mut(), *limit, context)
                {
                    log::warn!("PostgreSQL has not answered for {limit:?}: the connection is given up");
                    *messages = Box::pin(GivenUp);
                    // Without a connection its answer is an error.
                    return work.as_mut().poll(context);
                }
                Poll::Pending
            })
            .await
        })
    }
}

/// Whether the silence has lasted to its end; else it begins anew, since something has come.
fn is_over(mut silence: Pin<&mut Sleep>, limit: Duration, context: &mut Context<'_>) -> bool {
    if silence.as_mut().poll(context).is_ready() {
        return true;
    }
    silence.as_mut().reset(Instant::now() + limit);
    // Its waker is to be kept at the new time.
    silence.poll(context).is_ready()
}

impl Drop for Connection {
    fn drop(&mut self) {
        let messages = &mut self.messages;
        // The server may be gone already, and whoever wanted to know has heard of it.
        let _ = self.runtime.block_on(future::poll_fn(|context| poll_to_end(messages, context)));
    }
}

/// Sends and receives what there is; ready when the connection has ended.
fn poll_to_end(
    messages: &mut Pin<Box<dyn Messages>>,
    context: &mut Context<'_>,
) -> Poll<Result<(), postgres::Error>> {
    loop {
        match ready!(messages.as_mut().poll_message(context)) {
            None => return Poll::Ready(Ok(())),
            Some(Err(error)) => return Poll::Ready(Err(error)),
            Some(Ok(AsyncMessage::Notice(notice))) => {
                log::info!("PostgreSQL: {}: {}", notice.severity(), notice.message());
            }
            Some(Ok(_)) => {}
        }
    }
}
