/* Stands in for the kernel's part of the ALSA sequencer, which containers and virtual machines do not have and without
 * which qtractor starts no sound: `cc -shared -fPIC -o sequencer.so sequencer.c`, then LD_PRELOAD. What is sent goes
 * nowhere; MIDI messages of three bytes that are written to the FIFO of the environment variable MIDI_FIFO arrive at
 * the port "Master".
 */
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <alsa/asoundlib.h>

static int fifo = -1, ports = 0, master = 0;
static snd_seq_event_t event;

int snd_seq_open(snd_seq_t **seq, const char *name, int streams, int mode)
{
	const char *path = getenv("MIDI_FIFO");
	fifo = path ? open(path, O_RDWR | O_NONBLOCK) : -1;
	*seq = (snd_seq_t *) &fifo;
	return fifo < 0 ? -1 : 0;
}

int snd_seq_poll_descriptors_count(snd_seq_t *seq, short events) { return 1; }

int snd_seq_poll_descriptors(snd_seq_t *seq, struct pollfd *fds, unsigned int space, short events)
{
	fds[0].fd = fifo;
	fds[0].events = POLLIN;
	return 1;
}

int snd_seq_event_input(snd_seq_t *seq, snd_seq_event_t **out)
{
	unsigned char bytes[3];
	*out = NULL;
	if (read(fifo, bytes, 3) != 3)
		return -EAGAIN;
	memset(&event, 0, sizeof event);
	event.type = bytes[0] >> 4 == 9 ? SND_SEQ_EVENT_NOTEON : SND_SEQ_EVENT_NOTEOFF;
	event.dest.port = master;
	event.data.note.channel = bytes[0] & 15;
	event.data.note.note = bytes[1];
	event.data.note.velocity = bytes[2];
	*out = &event;
	return 1;
}

int snd_seq_event_input_pending(snd_seq_t *seq, int fetch)
{
	struct pollfd fd = {fifo, POLLIN, 0};
	return poll(&fd, 1, 0) > 0;
}

int snd_seq_create_simple_port(snd_seq_t *seq, const char *name, unsigned int caps, unsigned int type)
{
	if (strcmp(name, "Master") == 0)
		master = ports;
	return ports++;
}

int snd_seq_client_id(snd_seq_t *seq) { return 128; }
int snd_seq_alloc_queue(snd_seq_t *seq) { return 0; }
int snd_seq_event_output(snd_seq_t *seq, snd_seq_event_t *ev) { return 1; }
int snd_seq_event_output_direct(snd_seq_t *seq, snd_seq_event_t *ev) { return 1; }

/* Nothing to do. */
int snd_seq_close(snd_seq_t *seq) { return 0; }
int snd_seq_set_client_name(snd_seq_t *seq, const char *name) { return 0; }
int snd_seq_free_queue(snd_seq_t *seq, int queue) { return 0; }
int snd_seq_control_queue(snd_seq_t *seq, int queue, int type, int value, snd_seq_event_t *ev) { return 0; }
int snd_seq_delete_simple_port(snd_seq_t *seq, int port) { return 0; }
int snd_seq_drain_output(snd_seq_t *seq) { return 0; }
int snd_seq_drop_input(snd_seq_t *seq) { return 0; }
int snd_seq_drop_output(snd_seq_t *seq) { return 0; }
int snd_seq_free_event(snd_seq_event_t *ev) { return 0; }
int snd_seq_get_port_info(snd_seq_t *seq, int port, snd_seq_port_info_t *info) { return 0; }
int snd_seq_set_port_info(snd_seq_t *seq, int port, snd_seq_port_info_t *info) { return 0; }
int snd_seq_get_queue_status(snd_seq_t *seq, int queue, snd_seq_queue_status_t *status) { return 0; }
int snd_seq_get_queue_tempo(snd_seq_t *seq, int queue, snd_seq_queue_tempo_t *tempo) { return 0; }
int snd_seq_set_queue_tempo(snd_seq_t *seq, int queue, snd_seq_queue_tempo_t *tempo) { return 0; }
int snd_seq_set_queue_timer(snd_seq_t *seq, int queue, snd_seq_queue_timer_t *timer) { return 0; }
int snd_seq_remove_events(snd_seq_t *seq, snd_seq_remove_events_t *info) { return 0; }
int snd_seq_subscribe_port(snd_seq_t *seq, snd_seq_port_subscribe_t *info) { return 0; }
int snd_seq_unsubscribe_port(snd_seq_t *seq, snd_seq_port_subscribe_t *info) { return 0; }

/* There is no other client. */
int snd_seq_get_any_client_info(snd_seq_t *seq, int client, snd_seq_client_info_t *info) { return -ENOENT; }
int snd_seq_get_any_port_info(snd_seq_t *seq, int client, int port, snd_seq_port_info_t *info) { return -ENOENT; }
int snd_seq_query_next_client(snd_seq_t *seq, snd_seq_client_info_t *info) { return -ENOENT; }
int snd_seq_query_next_port(snd_seq_t *seq, snd_seq_port_info_t *info) { return -ENOENT; }
int snd_seq_query_port_subscribers(snd_seq_t *seq, snd_seq_query_subscribe_t *subs) { return -ENOENT; }
