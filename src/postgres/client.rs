//! A blocking connection to PostgreSQL that hands over many rows at a time.
//!
//! The `postgres` crate does the same around the same asynchronous client, but enters the runtime anew for each row,
//! which took a fifth of a full load's processor time.

use std::future::{self, Future};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use futures_util::TryStreamExt;
use postgres::types::{ToSql, Type};
use postgres::{Row, SimpleQueryMessage};
use tokio::runtime::{Builder, Runtime};
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{AsyncMessage, Config, Socket};

/// A connection to PostgreSQL.
pub(super) struct Client {
    // Fields are dropped from the first on: without a client the connection says goodbye to the server and ends.
    client: tokio_postgres::Client,
    connection: Connection,
}

/// What sends and receives, on the calling thread and only while something is waited for.
struct Connection {
    runtime: Runtime,
    messages: Pin<Box<dyn Messages>>,
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
        Ok(Self { client, connection: Connection { runtime, messages: Box::pin(messages) } })
    }

    /// Runs statements without parameters, separated by semicolons, and takes no rows.
    pub(super) fn batch_execute(&mut self, statements: &str) -> Result<(), postgres::Error> {
        self.connection.block_on(self.client.batch_execute(statements))
    }

    /// Runs statements without parameters, separated by semicolons, and returns their rows as texts.
    pub(super) fn simple_query(
        &mut self,
        statements: &str,
    ) -> Result<Vec<SimpleQueryMessage>, postgres::Error> {
        self.connection.block_on(self.client.simple_query(statements))
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

    /// Hands the rows of a statement to `sink` as they come, until it wants no more.
    ///
    /// No more is read ahead than what lies in the socket's buffer and the row after it.
    pub(super) fn stream(
        &mut self,
        statement: &str,
        parameters: Vec<(Box<dyn ToSql + Sync>, Type)>,
        mut sink: impl FnMut(&Row) -> bool,
    ) -> Result<(), postgres::Error> {
        let client = &self.client;
        self.connection.block_on(async {
            let mut rows = pin!(client.query_typed_raw(statement, parameters).await?);
            while let Some(row) = rows.try_next().await? {
                if !sink(&row) {
                    break;
                }
            }
            Ok(())
        })
    }
}

impl Connection {
    /// Sends and receives until `work` is done.
    fn block_on<T>(
        &mut self,
        work: impl Future<Output = Result<T, postgres::Error>>,
    ) -> Result<T, postgres::Error> {
        let mut work = pin!(work);
        let messages = &mut self.messages;
        self.runtime.block_on(future::poll_fn(|context| {
            // It is ready when the connection has ended, of which the work hears as well.
            if let Poll::Ready(Err(error)) = poll_to_end(messages, context) {
                return Poll::Ready(Err(error));
            }
            work.as_mut().poll(context)
        }))
    }
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
