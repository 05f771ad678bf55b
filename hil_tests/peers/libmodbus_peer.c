/* A Modbus device and a Modbus master made of libmodbus, steered by lines on standard input.

   libmodbus_peer server tcp PORT REGISTERS           registers 0 to REGISTERS - 1 of each kind; PORT 0: any free one
   libmodbus_peer server rtu TTY BAUD UNIT REGISTERS
   libmodbus_peer client tcp PORT UNIT
   libmodbus_peer client rtu TTY BAUD UNIT

   The server says its port (0 on a serial line), then follows: `h|i|c|d ADDRESS WORD…` puts holding registers,
   input registers, coils or discrete inputs, `? ADDRESS COUNT` says holding registers, `writes` says how many
   write requests came in. The client follows: `1|2|3|4 ADDRESS COUNT` reads, `5|6 ADDRESS WORD` and
   `16 ADDRESS WORD…` write; it says the values, or `error` and what libmodbus calls it. */

#include <arpa/inet.h>
#include <errno.h>
#include <modbus.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
#include <unistd.h>

#define LONGEST 4096

static long writes;

static int words_of(char *text, uint16_t *words)
{
    int count = 0;
    for (char *word = strtok(text, " \n"); word != NULL && count < 125; word = strtok(NULL, " \n"))
        words[count++] = (uint16_t) atol(word);
    return count;
}

static void follow(modbus_mapping_t *map, char *line)
{
    uint16_t words[125];
    char *rest = line + 1;
    int address = (int) strtol(rest, &rest, 10), count;

    if (strncmp(line, "writes", 6) == 0) {
        printf("%ld\n", writes);
        return;
    }
    count = words_of(rest, words);
    if (line[0] == '?') {
        for (int i = 0; i < words[0]; i++)
            printf("%u ", map->tab_registers[address + i]);
        printf("\n");
        return;
    }
    for (int i = 0; i < count; i++) {
        if (line[0] == 'h')
            map->tab_registers[address + i] = words[i];
        else if (line[0] == 'i')
            map->tab_input_registers[address + i] = words[i];
        else if (line[0] == 'c')
            map->tab_bits[address + i] = (uint8_t) words[i];
        else if (line[0] == 'd')
            map->tab_input_bits[address + i] = (uint8_t) words[i];
    }
    printf("ok\n");
}

/* Standard input without a buffer of its own, so that select sees all that is left. */
static int line_of(char *line)
{
    int length = 0;
    while (length < LONGEST - 1 && read(0, line + length, 1) == 1)
        if (line[length++] == '\n')
            break;
    line[length] = 0;
    return length;
}

static void answer(modbus_t *context, modbus_mapping_t *map, int fd, fd_set *all, int serial)
{
    uint8_t query[MODBUS_TCP_MAX_ADU_LENGTH];
    int length;

    modbus_set_socket(context, fd);
    length = modbus_receive(context, query);
    if (length > 0) {
        int function = query[modbus_get_header_length(context)];
        writes += function == 5 || function == 6 || function == 15 || function == 16;
        modbus_reply(context, query, length, map);
    } else if (length < 0 && !serial) {
        close(fd);
        FD_CLR(fd, all);
    }
}

static int serve(modbus_t *context, int serial, int registers)
{
    modbus_mapping_t *map = modbus_mapping_new(registers, registers, registers, registers);
    struct sockaddr_in address = {0};
    socklen_t size = sizeof address;
    char line[LONGEST];
    fd_set all, ready;
    int listener = -1, most, fd;

    if (map == NULL)
        return 1;
    FD_ZERO(&all);
    FD_SET(0, &all);
    if (serial) {
        if (modbus_connect(context) < 0)
            return 1;
        most = modbus_get_socket(context);
    } else {
        most = listener = modbus_tcp_listen(context, 8);
        if (listener < 0 || getsockname(listener, (struct sockaddr *) &address, &size) < 0)
            return 1;
    }
    FD_SET(most, &all);
    printf("%d\n", ntohs(address.sin_port));
    for (;;) {
        ready = all;
        if (select(most + 1, &ready, NULL, NULL, NULL) < 0)
            return 1;
        for (fd = 0; fd <= most; fd++) {
            if (!FD_ISSET(fd, &ready))
                continue;
            if (fd == 0) {
                if (line_of(line) == 0)
                    return 0;
                follow(map, line);
            } else if (fd == listener) {
                int fresh = modbus_tcp_accept(context, &listener);
                if (fresh >= 0)
                    FD_SET(fresh, &all);
                if (fresh > most)
                    most = fresh;
            } else
                answer(context, map, fd, &all, serial);
        }
    }
}

static int carry_out(modbus_t *context, char *line, uint16_t *words, uint8_t *bits)
{
    char *rest = line;
    int function = (int) strtol(rest, &rest, 10), address = (int) strtol(rest, &rest, 10), count;

    if (function > 4) {
        count = words_of(rest, words);
        if (function == 5)
            return modbus_write_bit(context, address, words[0]) < 0 ? -1 : 0;
        if (function == 6)
            return modbus_write_register(context, address, words[0]) < 0 ? -1 : 0;
        return modbus_write_registers(context, address, count, words) < 0 ? -1 : 0;
    }
    count = atoi(rest);
    if (function == 3)
        return modbus_read_registers(context, address, count, words);
    if (function == 4)
        return modbus_read_input_registers(context, address, count, words);
    count = function == 1 ? modbus_read_bits(context, address, count, bits)
                          : modbus_read_input_bits(context, address, count, bits);
    for (int i = 0; i < count; i++)
        words[i] = bits[i];
    return count;
}

static int ask(modbus_t *context)
{
    char line[LONGEST];
    uint16_t words[2000];
    uint8_t bits[2000];

    if (modbus_connect(context) < 0)
        return 1;
    printf("0\n");
    while (line_of(line) > 0) {
        int count = carry_out(context, line, words, bits);
        if (count < 0)
            printf("error %s", modbus_strerror(errno));
        for (int i = 0; i < count; i++)
            printf("%u ", words[i]);
        printf("\n");
    }
    return 0;
}

int main(int argc, char **argv)
{
    int serial = argc > 3 && strcmp(argv[2], "rtu") == 0;
    modbus_t *context;

    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc < 5 + serial)
        return 2;
    context = serial ? modbus_new_rtu(argv[3], atoi(argv[4]), 'N', 8, 1)
                     : modbus_new_tcp("127.0.0.1", atoi(argv[3]));
    if (context == NULL)
        return 1;
    if (strcmp(argv[1], "server") == 0) {
        if (serial && modbus_set_slave(context, atoi(argv[5])) < 0)
            return 1;
        return serve(context, serial, atoi(argv[serial ? 6 : 4]));
    }
    modbus_set_response_timeout(context, 2, 0);
    if (modbus_set_slave(context, atoi(argv[serial ? 5 : 4])) < 0)
        return 1;
    return ask(context);
}
