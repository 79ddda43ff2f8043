/* libthrong: the players' side of Throng, for game engines and other languages.
 *
 * A client runs on a thread of its own. The functions below never wait for the network, but for
 * throng_wait and throng_client_free. There are no callbacks: poll the events, once a frame.
 *
 * Texts are UTF-8, with their lengths and without a zero at the end. Texts that go in are copied.
 * Texts that come out belong to the client: see throng_poll. Strings of throng_status_text and the
 * like are static, and end with a zero.
 *
 * A client may be used from any thread, but from one at a time. Different clients have nothing in
 * common. No function panics, throws or exits, whatever it is given, as long as pointers are null
 * or valid.
 *
 * Made by cbindgen from client/capi/src; a test holds it.
 */

#ifndef THRONG_H
#define THRONG_H

#include <stddef.h>
#include <stdint.h>

// Result of a function.
typedef enum throng_status {
  // Done, or under way.
  THRONG_STATUS_OK = 0,
  // An argument is null, out of range, or not UTF-8; or the key is not 64 hexadecimal digits; or
  // a structure's size is not of this version.
  THRONG_STATUS_INVALID_ARGUMENT = 1,
  // The client is not in the chat: log in first.
  THRONG_STATUS_NOT_IN_THE_CHAT = 2,
  // The client is in the chat, or on its way there: log out first.
  THRONG_STATUS_LOGGED_IN = 3,
  // Another request to the login server waits for its answer.
  THRONG_STATUS_BUSY = 4,
  // A text is longer than the server takes.
  THRONG_STATUS_TOO_LONG = 5,
  // A text has no characters.
  THRONG_STATUS_EMPTY = 6,
  // Too many requests wait for the server.
  THRONG_STATUS_TOO_MANY = 7,
  // The system gives no socket, no thread or no randomness.
  THRONG_STATUS_SYSTEM = 8,
  // A fault of this library. The client is of no use any more: free it.
  THRONG_STATUS_INTERNAL = 9,
} throng_status;

// State of a client.
typedef enum throng_state {
  // Not in the chat.
  THRONG_STATE_OUT = 0,
  // In the chat.
  THRONG_STATE_IN = 1,
  // The connection is lost, and the client tries to resume its place.
  THRONG_STATE_AWAY = 2,
} throng_state;

// Kind of an event, and the fields that it has besides `size` and `kind`.
typedef enum throng_event_kind {
  // The account exists now.
  THRONG_EVENT_KIND_SIGNED_UP = 0,
  // The account has a character now.
  THRONG_EVENT_KIND_CHARACTER_CREATED = 1,
  // A request to the login server is refused. `code`: the outcome (throng_outcome_text).
  // `scope`: 0 sign-up, 1 character, 2 login.
  THRONG_EVENT_KIND_REFUSED = 2,
  // A request to the login server waits for its turn. `count`: place in the queue, 1 is next.
  // `micros`: estimate of the wait.
  THRONG_EVENT_KIND_QUEUED = 3,
  // A request came too fast and was not handled. `micros`: the time to wait.
  THRONG_EVENT_KIND_TOO_FAST = 4,
  // The login server cannot be reached. `code`: the reason (throng_reason_text).
  THRONG_EVENT_KIND_UNREACHABLE = 5,
  // The client is in the chat. `user`, `name`: its own. `count`: users in the chat.
  THRONG_EVENT_KIND_ENTERED = 6,
  // The connection is lost; the client tries to resume. `code`: the reason.
  THRONG_EVENT_KIND_AWAY = 7,
  // The client is back in its place. `micros`: the time that it was away.
  THRONG_EVENT_KIND_RESUMED = 8,
  // The client is not in the chat any more. `code`: the reason. `flag`: 1 if it logs in again by
  // itself.
  THRONG_EVENT_KIND_LEFT = 9,
  // A message. `scope`, `target`, `sequence`, `user`, `name`, `text`. `flag`: 1 for the client's
  // own, with its `stamp`.
  THRONG_EVENT_KIND_MESSAGE = 10,
  // An earlier message of a room, as Message. A History follows the last one of a page.
  THRONG_EVENT_KIND_PAST_MESSAGE = 11,
  // The end of a page of a room's history. `target`: the channel, 0 for the world. `count`:
  // messages of the page. `flag`: 1 if there are earlier ones.
  THRONG_EVENT_KIND_HISTORY = 12,
  // A message of this client was not delivered. `stamp`. `code`: the outcome. With `flag` 1 it
  // came too fast instead, and `micros` is the time to wait.
  THRONG_EVENT_KIND_MESSAGE_REFUSED = 13,
  // The place was lost before it was known whether a message had been delivered. `stamp`.
  THRONG_EVENT_KIND_MESSAGE_UNCERTAIN = 14,
  // Messages that this client has missed. `scope`, `target`, `count`.
  THRONG_EVENT_KIND_MISSED = 15,
  // A user has entered. `target`: the channel, 0 for the world. `user`, `name`.
  THRONG_EVENT_KIND_USER_ENTERED = 16,
  // A user has left. `target`, `user`, `name`.
  THRONG_EVENT_KIND_USER_LEFT = 17,
  // The list of a room is complete for the first time: see throng_users. `target`.
  THRONG_EVENT_KIND_LISTED = 18,
  // The client is in a channel. `target`, `name`: the channel. `count`: its users.
  THRONG_EVENT_KIND_JOINED = 19,
  // A channel cannot be made or joined. `name`. `code`: the outcome.
  THRONG_EVENT_KIND_JOIN_REFUSED = 20,
  // The client is not in a channel any more. `target`: the channel. `code`: the outcome.
  THRONG_EVENT_KIND_CHANNEL_LEFT = 21,
  // Result of a kick. `target`: the channel. `user`. `code`: the outcome.
  THRONG_EVENT_KIND_KICK_ANSWERED = 22,
  // A channel of the list of channels. `target`, `name`. `count`: its users. A Channels follows
  // the last one of a page.
  THRONG_EVENT_KIND_CHANNEL = 23,
  // The end of a page of the list of channels. `count`: channels of the page. `flag`: 1 if there
  // are more.
  THRONG_EVENT_KIND_CHANNELS = 24,
  // The answer to throng_ping. `micros`: the round trip.
  THRONG_EVENT_KIND_PONG = 25,
  // An event that this version of the interface has no kind for.
  THRONG_EVENT_KIND_OTHER = 26,
} throng_event_kind;

// The recipients of a message.
typedef enum throng_scope {
  // All users in the chat. The target is 0.
  THRONG_SCOPE_WORLD = 0,
  // The members of a channel, which is the target.
  THRONG_SCOPE_CHANNEL = 1,
  // The users near the sender. The target is 0.
  THRONG_SCOPE_NEARBY = 2,
  // One user, which is the target.
  THRONG_SCOPE_WHISPER = 3,
} throng_scope;

// A client. Its content is private.
typedef struct throng_client throng_client;

// UTF-8 text: `length` bytes, without a zero at the end.
typedef struct throng_text {
  // The first byte; never null.
  const char *data;
  // Number of bytes.
  size_t length;
} throng_text;

// Settings of a client.
typedef struct throng_settings {
  // Size of this structure.
  size_t size;
  // Address of the login server, `host:port`.
  struct throng_text server;
  // Public key of the login server: 64 hexadecimal digits.
  struct throng_text server_key;
  // 1 to log in again when the place in the chat is lost; 0 not to.
  uint32_t log_in_again;
} throng_settings;

// Event of a client. Fields that a kind does not have are 0 or empty.
typedef struct throng_event {
  // Size of this structure, set by the caller: a library of a later version then writes no more.
  size_t size;
  // Kind of the event.
  enum throng_event_kind kind;
  // An outcome or the reason of an end.
  uint32_t code;
  // Kind of the recipients (throng_scope), or another small number.
  uint32_t scope;
  // The channel, the user whispered to, or 0.
  uint32_t target;
  // A user.
  uint32_t user;
  // 0 or 1.
  uint32_t flag;
  // Number of a message in its room.
  uint64_t sequence;
  // Number that throng_say gave to a message.
  uint64_t stamp;
  // A number of things.
  uint64_t count;
  // A time in microseconds.
  uint64_t micros;
  // A name.
  struct throng_text name;
  // The text of a message. It comes from others: show its control characters as something else.
  struct throng_text text;
} throng_event;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Returns the version of the interface: major << 16 | minor << 8 | patch. A program works with
// each library of the same major version that is not older.
uint32_t throng_version(void);

// Returns a sentence about a status, a static string. Any number may be passed.
const char *throng_status_text(uint32_t status);

// Returns the name of an outcome, a static string as in docs/protocol.md: `BadCredentials`.
const char *throng_outcome_text(uint32_t code);

// Returns the name of the reason of an end, a static string as in docs/protocol.md: `PlaceLost`.
const char *throng_reason_text(uint32_t code);

// Makes a client and its thread. It connects to nothing before it is asked to. Free it with
// throng_client_free. `*client` is null unless the status is Ok.
//
// # Safety
//
// `settings` and `client` are null or valid; so are the texts of `settings`.
enum throng_status throng_client_new(const struct throng_settings *settings,
                                     struct throng_client **client);

// Leaves the chat and frees a client. Takes half a second at most. Null is allowed.
//
// # Safety
//
// `client` is null or a client, and is not used afterwards.
void throng_client_free(struct throng_client *client);

// Creates an account. Answered by SignedUp, Refused, TooFast or Unreachable.
//
// # Safety
//
// `client` and the texts are null or valid.
enum throng_status throng_sign_up(const struct throng_client *client,
                                  const char *id,
                                  size_t id_length,
                                  const char *password,
                                  size_t password_length);

// Creates the character of an account. Answered by CharacterCreated, Refused, TooFast or
// Unreachable.
//
// # Safety
//
// `client` and the texts are null or valid.
enum throng_status throng_create_character(const struct throng_client *client,
                                           const char *id,
                                           size_t id_length,
                                           const char *password,
                                           size_t password_length,
                                           const char *name,
                                           size_t name_length);

// Logs in and enters the chat. Answered by Entered, Refused, TooFast or Unreachable.
//
// # Safety
//
// `client` and the texts are null or valid.
enum throng_status throng_log_in(const struct throng_client *client,
                                 const char *id,
                                 size_t id_length,
                                 const char *password,
                                 size_t password_length);

// Leaves the chat, or gives up on the way there. Nothing is tried again.
//
// # Safety
//
// `client` is null or valid.
enum throng_status throng_log_out(const struct throng_client *client);

// Returns the state of a client; Out for null.
//
// # Safety
//
// `client` is null or valid.
enum throng_state throng_client_state(const struct throng_client *client);

// Sends a message; while the client is away, once it is back. `scope` is a throng_scope. Writes
// the number of the message to `stamp` unless that is null: its Message or MessageRefused has it
// too.
//
// # Safety
//
// `client`, `text` and `stamp` are null or valid.
enum throng_status throng_say(const struct throng_client *client,
                              uint32_t scope,
                              uint32_t target,
                              const char *text,
                              size_t text_length,
                              uint64_t *stamp);

// Creates a channel and joins it. Answered by Joined, JoinRefused or TooFast.
//
// # Safety
//
// `client` and `name` are null or valid.
enum throng_status throng_channel_create(const struct throng_client *client,
                                         const char *name,
                                         size_t name_length);

// Joins a channel. Answered by Joined, JoinRefused or TooFast.
//
// # Safety
//
// `client` and `name` are null or valid.
enum throng_status throng_channel_join(const struct throng_client *client,
                                       const char *name,
                                       size_t name_length);

// Leaves a channel. Answered by ChannelLeft or TooFast.
//
// # Safety
//
// `client` is null or valid.
enum throng_status throng_channel_leave(const struct throng_client *client, uint32_t channel);

// Kicks a user from a channel that the client owns. Answered by KickAnswered or TooFast.
//
// # Safety
//
// `client` is null or valid.
enum throng_status throng_channel_kick(const struct throng_client *client,
                                       uint32_t channel,
                                       uint32_t user);

// Requests the channels after a number; 0 for the first ones. Answered by a Channel for each, and
// Channels.
//
// # Safety
//
// `client` is null or valid.
enum throng_status throng_channel_list(const struct throng_client *client, uint32_t after);

// Requests at most `count` messages of a room (a channel, or 0 for the world) with numbers below
// `before`, or the latest ones with 0. Answered by a PastMessage for each, and History.
//
// # Safety
//
// `client` is null or valid.
enum throng_status throng_history(const struct throng_client *client,
                                  uint32_t room,
                                  uint64_t before,
                                  uint8_t count);

// Sets the position, in the game's own units. Not answered.
//
// # Safety
//
// `client` is null or valid.
enum throng_status throng_move(const struct throng_client *client, int32_t x, int32_t y);

// Measures the round trip. Answered by Pong.
//
// # Safety
//
// `client` is null or valid.
enum throng_status throng_ping(const struct throng_client *client);

// Checks the connection at once: for a system that tells of another network, or wakes up.
//
// # Safety
//
// `client` is null or valid.
enum throng_status throng_probe(const struct throng_client *client);

// Takes the next event. Returns 1 and fills `event` if there is one, 0 if there is none, and -1
// if an argument is null or `event->size` is too small. The texts are valid until the next
// throng_poll or throng_wait of the client, or until it is freed.
//
// # Safety
//
// `client` and `event` are null or valid.
int throng_poll(struct throng_client *client, struct throng_event *event);

// As throng_poll, but waits for an event, at most for so many milliseconds.
//
// # Safety
//
// `client` and `event` are null or valid.
int throng_wait(struct throng_client *client, uint32_t milliseconds, struct throng_event *event);

// Writes the ids of a room's users (a channel, or 0 for the world), by ascending id, at most
// `capacity` of them. Returns how many users there are; 0 if the client is not in the room.
//
// # Safety
//
// `client` is null or valid; `ids` is null, or has space for `capacity` numbers.
size_t throng_users(const struct throng_client *client,
                    uint32_t room,
                    uint32_t *ids,
                    size_t capacity);

// Copies the name of a user of a room: at most `capacity` bytes. Returns its length in bytes; 0 if
// there is no such user. A name that does not fit is not copied. 96 bytes always do.
//
// # Safety
//
// `client` is null or valid; `name` is null, or has space for `capacity` bytes.
size_t throng_user_name(const struct throng_client *client,
                        uint32_t room,
                        uint32_t user,
                        char *name,
                        size_t capacity);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* THRONG_H */
