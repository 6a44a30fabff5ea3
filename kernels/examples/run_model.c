/* run_model.c: raw images in, logits out, with nothing but the C library.
 *
 *     run_model model.gguf images.raw [threads]
 *
 * images.raw holds whole images of the model's input size, one byte per channel and pixel, planar
 * (channel, row, column). Prints one line of logits per image; the numbers are those of
 * `bincompress run`. */
#include <bincompress.h>

#include <stdio.h>
#include <stdlib.h>

static int fail(const char *what, const bc_error *error) {
    fprintf(stderr, "%s: %s: %s", what, bc_status_text(error->code), error->message);
    if (error->offset >= 0)
        fprintf(stderr, " (at byte %lld)", (long long)error->offset);
    fputc('\n', stderr);
    return EXIT_FAILURE;
}

int main(int argc, char **argv) {
    if (argc < 3) {
        fprintf(stderr, "usage: run_model model.gguf images.raw [threads]\n");
        return EXIT_FAILURE;
    }
    bc_model *model;
    bc_session *session;
    bc_error error;
    if (bc_model_open_file(argv[1], &model, &error) != BC_OK)
        return fail(argv[1], &error);

    bc_session_options options = {.struct_size = sizeof options,
                                  .threads = argc > 3 ? (uint32_t)atoi(argv[3]) : 1};
    if (bc_session_open(model, &options, &session, &error) != BC_OK)
        return fail("session", &error);

    bc_value_info in, out;
    bc_model_value(model, bc_model_input(model), &in);
    bc_model_value(model, bc_model_output(model), &out);
    const size_t pixels = (size_t)in.c * in.h * in.w, logits = (size_t)out.c * out.h * out.w;
    unsigned char *image = malloc(pixels);
    float *result = malloc(logits * sizeof *result);
    FILE *file = fopen(argv[2], "rb");
    int status = image && result && file ? EXIT_SUCCESS : EXIT_FAILURE;
    if (status)
        fprintf(stderr, "%s: cannot be opened\n", argv[2]);

    size_t got = 0, images = 0;
    while (!status && (got = fread(image, 1, pixels, file)) == pixels) {
        const bc_input input = {image, BC_U8, BC_NCHW};
        if (bc_session_run(session, &input, 1, result, &error) != BC_OK) {
            status = fail("run", &error);
            break;
        }
        for (size_t i = 0; i < logits; i++)
            printf("%.9g%c", (double)result[i], i + 1 < logits ? ' ' : '\n');
        images++;
    }
    if (!status && (got || !images)) {
        fprintf(stderr, "%s: not whole images of %zu bytes\n", argv[2], pixels);
        status = EXIT_FAILURE;
    }

    if (file)
        fclose(file);
    free(result);
    free(image);
    bc_session_close(session);
    bc_model_close(model);
    return status;
}
