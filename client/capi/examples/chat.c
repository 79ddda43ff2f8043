/* A client in C. It signs up, enters, joins a channel, greets, and ends once all its peers have
 * greeted.
 *
 *   cc -o chat chat.c -I ../include -L ../../../target/debug -lthrong
 *   ./chat 127.0.0.1:9000 KEY NAME PEER...
 */
#include <stdio.h>
#include <string.h>

#include "throng.h"

#define PASSWORD "a long password"
#define CHANNEL "engines"
#define PATIENCE_MS 60000
#define STEP_MS 100

static throng_text text(const char *words) {
    throng_text it = {words, strlen(words)};
    return it;
}

static int is(throng_text found, const char *wanted) {
    return found.length == strlen(wanted) && memcmp(found.data, wanted, found.length) == 0;
}

static int failed(const char *what, throng_status status) {
    fprintf(stderr, "%s: %s\n", what, throng_status_text(status));
    return 1;
}

int main(int count, char **words) {
    if (count < 4) {
        fprintf(stderr, "usage: %s HOST:PORT KEY NAME PEER...\n", words[0]);
        return 2;
    }
    const char *name = words[3];
    size_t length = strlen(name), left = (size_t)count - 4;
    throng_settings settings = {sizeof settings, text(words[1]), text(words[2]), 1};
    throng_client *client;
    throng_status status = throng_client_new(&settings, &client);
    if (status != THRONG_STATUS_OK) return failed("no client", status);

    int code = 1;
    status = throng_sign_up(client, name, length, PASSWORD, strlen(PASSWORD));
    if (status != THRONG_STATUS_OK) failed("no sign-up", status);
    throng_event event = {.size = sizeof event};
    for (int waited = 0; status == THRONG_STATUS_OK && waited < PATIENCE_MS;) {
        if (throng_wait(client, STEP_MS, &event) != 1) {
            waited += STEP_MS;
            continue;
        }
        switch (event.kind) {
        case THRONG_EVENT_KIND_SIGNED_UP:
            status = throng_create_character(client, name, length, PASSWORD, strlen(PASSWORD), name, length);
            break;
        case THRONG_EVENT_KIND_CHARACTER_CREATED:
            status = throng_log_in(client, name, length, PASSWORD, strlen(PASSWORD));
            break;
        case THRONG_EVENT_KIND_ENTERED:
            printf("%s is user %u\n", name, event.user);
            status = throng_channel_create(client, CHANNEL, strlen(CHANNEL));
            break;
        case THRONG_EVENT_KIND_JOIN_REFUSED:
            /* Another one has made it. */
            status = throng_channel_join(client, CHANNEL, strlen(CHANNEL));
            break;
        case THRONG_EVENT_KIND_JOINED:
            status = throng_say(client, THRONG_SCOPE_CHANNEL, event.target, "hello", 5, NULL);
            break;
        case THRONG_EVENT_KIND_MESSAGE:
        case THRONG_EVENT_KIND_PAST_MESSAGE:
            printf("%s hears %.*s: %.*s\n", name, (int)event.name.length, event.name.data,
                   (int)event.text.length, event.text.data);
            for (int peer = 4; peer < count; peer++) {
                if (words[peer] && is(event.name, words[peer])) {
                    words[peer] = NULL;
                    left--;
                }
            }
            break;
        case THRONG_EVENT_KIND_REFUSED:
            fprintf(stderr, "%s: refused: %s\n", name, throng_outcome_text(event.code));
            waited = PATIENCE_MS;
            break;
        case THRONG_EVENT_KIND_UNREACHABLE:
            fprintf(stderr, "%s: unreachable: %s\n", name, throng_reason_text(event.code));
            waited = PATIENCE_MS;
            break;
        default:
            break;
        }
        if (left == 0 && event.kind == THRONG_EVENT_KIND_MESSAGE) {
            code = 0;
            break;
        }
    }
    if (status != THRONG_STATUS_OK) failed("refused at once", status);
    throng_client_free(client);
    return code;
}
